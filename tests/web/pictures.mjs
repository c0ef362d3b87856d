// Pictures of the page for the documentation, at three widths, light and dark: `node pictures.mjs [FOLDER]`; without one
// they go to docs/. With few colours they take a third; what has that is Debian's pngquant.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { kPatience, launch, proxy, root, serve } from './support.mjs';

const into = process.argv[2] ?? `${root}docs`;
mkdirSync(into, { recursive: true });
const models = mkdtempSync(`${tmpdir()}/loadline-models-`);
symlinkSync(`${root}models/demo-chat.gguf`, `${models}/demo-chat.gguf`);
symlinkSync(`${root}models/demo.gguf`, `${models}/demo.gguf`);
const made = [];

async function take(browser, server, folder, size, colorScheme) {
  const [width, height] = size;
  const open = async (url) => {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme, reducedMotion: 'reduce' });
    const page = await context.newPage();
    page.setDefaultTimeout(kPatience);
    await page.goto(url);
    return page;
  };
  const page = await open(server.url);
  const shot = async (name, of = page) => {
    made.push(`${into}/page-${name}-${width}-${colorScheme}.png`);
    await of.screenshot({ path: made.at(-1) });
  };
  await page.getByRole('button', { name: 'Tell me a story' }).click();
  await page.getByRole('button', { name: 'Retry' }).waitFor();
  await page.getByText(/(?:[4-9]\d|\d{3,}) tokens so far/).waitFor();
  await shot('chat');
  await page.getByRole('link', { name: 'Memory', exact: true }).click();
  await page.getByRole('button', { name: /^Pin the text/ }).first().waitFor();
  await page.getByRole('button', { name: /layer 1 · weights/ }).hover();
  await shot('memory');
  await page.getByRole('link', { name: 'What if' }).click();
  await page.getByLabel('RAM budget, as text').fill('16MiB');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: /Apply/ }).first().waitFor();
  await page.waitForFunction(() => !document.querySelector('[aria-busy=true]'));
  await shot('whatif');
  await page.context().close();
  const other = await open(`${folder.url}/#models`);
  await other.getByRole('cell', { name: /tok\/s/ }).first().waitFor();
  await shot('models', other);
  await other.context().close();
}

// What else this machine does meanwhile is no part of a picture.
const event = (state) => ({ ...state, watch: null });
const [alone, several] = [await serve('-c', '16384'), await serve('-c', '16384', '--models', models)];
const [server, folder] = [await proxy(alone, { event }), await proxy(several, { event })];
const browser = await launch();
try {
  for (const size of [[360, 740], [1280, 800], [2560, 1440]]) {
    for (const scheme of ['light', 'dark']) await take(browser, server, folder, size, scheme);
  }
} finally {
  await browser.close();
  for (const one of [server, folder, alone, several]) await one.close();
  rmSync(models, { recursive: true });
}
const squeezed = spawnSync('pngquant', ['--force', '--ext', '.png', '--quality', '70-95', '--speed', '1', '--strip', ...made], { stdio: 'inherit' });
if (squeezed.error) console.log('pngquant is missing: the pictures are as large as Chromium made them');
console.log(`${made.length} pictures in ${into}`);
