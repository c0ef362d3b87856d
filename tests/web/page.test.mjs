// The page in a browser, against the program itself with the demo model: from the first visit to the first answer, stop,
// branches, what does not fit, hostile text, the keyboard alone, a server that goes away. `node page.test.mjs`; the
// program is $LOADLINE_PROGRAM. `node page.test.mjs --screenshots FOLDER` takes pictures instead.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import test, { after, before } from 'node:test';

const kSkipped = 77; // ctest's word for it, see CMakeLists.txt
const kBrowsers = ['/usr/bin/chromium', '/usr/bin/chromium-browser'];
const program = process.env.LOADLINE_PROGRAM;
const browserPath = kBrowsers.find(existsSync);
let chromium;
try {
  ({ chromium } = await import('playwright-core'));
} catch {
  console.log('skipped: the npm packages of tests/web are missing (./dev setup fetches them)');
  process.exit(kSkipped);
}
if (!browserPath) {
  console.log('skipped: chromium is missing (./dev setup installs it)');
  process.exit(kSkipped);
}
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

// ---- the server ----

async function serve(port = 0, ...more) {
  const child = spawn(program, ['serve', '--port', String(port), '-t', '1', '-c', '16384', '--log-disable', ...more], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  const url = await new Promise((found, failed) => {
    child.once('exit', (code) => failed(new Error(`the server ended with ${code}`)));
    child.stdout.on('data', (data) => {
      said += data;
      const line = /^(http:\S+)\n/.exec(said);
      if (line) found(line[1]);
    });
  });
  while ((await fetch(`${url}/health`)).status === 503);
  const close = () =>
    new Promise((done) => {
      child.once('exit', done);
      child.kill('SIGKILL');
    });
  return { url, close };
}

let server;
let browser;
const errors = [];

async function visit(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(30000);
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('dialog', (dialog) => dialog.accept());
  // Nothing but the server is ever asked for anything.
  page.on('request', (request) => {
    const { protocol, origin } = new URL(request.url());
    if (protocol !== 'data:' && protocol !== 'blob:' && origin !== server.url) errors.push(`asked for ${request.url()}`);
  });
  await page.goto(server.url);
  await page.getByRole('heading', { name: 'demo is loaded' }).waitFor();
  return page;
}

const message = (page) => page.getByRole('textbox', { name: 'Message', exact: true });
const answers = (page) => page.getByRole('article', { name: 'Answer' });
const done = (page) => page.getByRole('button', { name: 'Retry' }).last().waitFor();

// A conversation as an export holds it; such an answer never ends by itself.
function endless(text, role = 'assistant') {
  const messages = { q: { parent: null, role: 'user', text: 'Say it.' }, a: { parent: 'q', role, text } };
  return { id: 'given', title: 'given', system: '', sampling: { ignore_eos: true }, messages, leaf: 'a' };
}

async function give(page, conversation) {
  const file = { name: 'chats.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify(conversation)) };
  await page.locator('input[type=file]').setInputFiles(file);
  await page.getByRole('heading', { name: conversation.title, exact: true }).waitFor();
}

async function nothingSerious(page, where) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run({ resultTypes: ['violations'] }));
  const serious = found.violations.filter((one) => one.impact === 'serious' || one.impact === 'critical');
  assert.deepEqual(serious.map((one) => `${where}: ${one.id} ${one.nodes[0].html.slice(0, 200)}`), []);
}

// ---- pictures for the documentation ----

async function screenshots(folder) {
  mkdirSync(folder, { recursive: true });
  for (const [width, height] of [[360, 740], [1280, 800], [2560, 1440]]) {
    for (const colorScheme of ['light', 'dark']) {
      const page = await visit({ viewport: { width, height }, colorScheme, reducedMotion: 'reduce' });
      const shot = (name) => page.screenshot({ path: `${folder}/page-${name}-${width}-${colorScheme}.png` });
      await page.getByRole('button', { name: 'Tell me a story' }).click();
      await done(page);
      await page.getByText('tokens so far').waitFor();
      await shot('chat');
      await page.getByRole('link', { name: 'Memory', exact: true }).click();
      await page.getByRole('button', { name: /layer 1 · weights/ }).hover();
      await shot('memory');
      await page.getByRole('link', { name: 'What if' }).click();
      await page.getByLabel('RAM budget, as text').fill('16MiB');
      await page.keyboard.press('Enter');
      await page.getByRole('button', { name: /Apply/ }).first().waitFor();
      await page.waitForFunction(() => !document.querySelector('[aria-busy=true]'));
      await shot('whatif');
      await page.context().close();
    }
  }
}

before(async () => {
  server = await serve();
  browser = await chromium.launch({ executablePath: browserPath, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });
});
after(async () => {
  await browser?.close();
  await server?.close();
});

const at = process.argv.indexOf('--screenshots');
if (at > 0) {
  test('pictures', () => screenshots(process.argv[at + 1]));
} else {
  test('a first visit comes to an answer, an edit to a branch beside it', async () => {
    const page = await visit();
    await nothingSerious(page, 'first visit');
    await page.getByRole('button', { name: 'Tell me a story' }).click();
    await done(page);
    assert.equal(await answers(page).count(), 1);
    await page.getByText(/\d+ tokens, .* tok\/s/).waitFor();
    await page.getByText(/of 16,384 left/).waitFor();

    await page.getByRole('article', { name: 'You' }).getByRole('button', { name: 'Edit' }).click();
    await page.getByRole('textbox', { name: 'Edit the message' }).fill('Tell me of a whale.');
    await page.getByRole('button', { name: 'Send as a new branch' }).click();
    await page.getByText('2/2').waitFor();
    await done(page);
    await page.getByRole('button', { name: 'The branch before' }).click();
    await page.getByRole('article', { name: 'You' }).getByText('Tell me a story of a small ship.').waitFor();
    await nothingSerious(page, 'chat');

    await page.reload(); // what was said is still there
    await page.getByRole('button', { name: 'Tell me a story of a small ship.', exact: true }).first().click();
    await page.getByText('1/2').waitFor();
    await page.context().close();
  });

  test('stop is felt at once, and the server stops too', async () => {
    const page = await visit();
    await give(page, endless('Once upon a time'));
    await page.getByRole('button', { name: 'Continue' }).click();
    const stop = page.getByRole('button', { name: 'Stop' });
    await stop.waitFor();
    await page.waitForFunction(() => document.querySelector('[aria-label=Answer]').innerText.length > 80);
    const took = await page.evaluate(async () => {
      const begin = performance.now();
      document.querySelector('button.stop').click();
      await new Promise(requestAnimationFrame);
      return { ms: performance.now() - begin, stopped: document.querySelector('button.stop') === null };
    });
    console.log(`stop was seen after ${took.ms.toFixed(0)} ms`);
    assert.ok(took.stopped, 'the next frame shows that it stopped');
    await page.getByText('stopped', { exact: false }).first().waitFor();
    for (;;) {
      const state = await (await fetch(`${server.url}/api/loadline/state`)).json();
      if (state.places.every((place) => place.state === 'idle')) break;
    }
    await page.context().close();
  });

  test('what does not fit is drawn as a bar that overflows, and its fix is a press away', async () => {
    const page = await visit();
    await page.getByRole('link', { name: 'What if' }).click();
    await page.getByRole('heading', { name: 'What would be faster' }).or(page.getByText('bound by').first()).first().waitFor();
    await page.getByLabel('RAM budget, as text').fill('8MiB');
    await page.keyboard.press('Enter');
    await page.getByText('It does not fit').waitFor();
    await page.getByText(/more than the budget of 8.00 MiB/).waitFor();
    await page.getByText(/loadline serve .*--ram 8MiB/).waitFor();
    await nothingSerious(page, 'a refusal');
    const fix = page.getByRole('button', { name: /^Apply --ram/ });
    await fix.first().click();
    await page.getByText('It does not fit').waitFor({ state: 'detached' });
    await page.getByText('bound by').first().waitFor();
    assert.equal(await page.locator('.whole.over').count(), 0);
    await page.context().close();
  });

  const answered = (page) => page.evaluate(() => document.querySelector('[aria-label=Answer]').innerText.length);
  const grows = (page, from) =>
    page.waitForFunction((least) => document.querySelector('[aria-label=Answer]').innerText.length > least + 20, from);

  test('another plan is loaded under an answer, which goes on', async () => {
    const chat = await visit();
    await give(chat, endless('Once upon a time'));
    await chat.getByRole('button', { name: 'Continue' }).click();
    await grows(chat, 60);
    const page = await visit();
    await page.getByRole('link', { name: 'What if' }).click();
    await page.getByText('bound by').first().waitFor();
    const { tiers } = await (await fetch(`${server.url}/api/loadline/state`)).json();
    const less = (tiers[0].planned - tiers[0].purposes.weights / 4) / 2 ** 20;
    await page.getByLabel('RAM budget, as text').fill(`${less.toFixed(1)}MiB`);
    await page.keyboard.press('Enter');
    await page.getByText(/loadline serve .*--ram/).waitFor();
    await page.waitForFunction(() => !document.querySelector('[aria-busy=true]'));
    await page.getByRole('button', { name: 'Load this' }).click();
    await page.getByText(/answers go on/, { exact: false }).last().waitFor();
    for (;;) {
      const { change } = await (await fetch(`${server.url}/api/loadline/state`)).json();
      if (change?.state === 'done') break;
    }
    await grows(chat, await answered(chat));
    await chat.getByRole('button', { name: 'Stop' }).click();
    await page.context().close();
    await chat.context().close();
  });

  test('another model is loaded while a chat goes on in another tab', async () => {
    const folder = mkdtempSync(`${tmpdir()}/loadline-models-`);
    const models = new URL('../../models/', import.meta.url).pathname;
    symlinkSync(`${models}demo-chat.gguf`, `${folder}/alpha.gguf`);
    symlinkSync(`${models}demo.gguf`, `${folder}/beta.gguf`);
    writeFileSync(`${folder}/broken.gguf`, 'no model');
    const usual = server;
    server = await serve(0, '--models', folder);
    try {
      const open = async () => {
        const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
        const page = await context.newPage();
        page.setDefaultTimeout(30000);
        page.on('pageerror', (error) => errors.push(error.message));
        await page.goto(`${server.url}/#models`);
        return page;
      };
      const chat = await open();
      await chat.getByRole('cell', { name: /tok\/s/ }).first().waitFor();
      await chat.getByText('broken', { exact: true }).waitFor();
      await nothingSerious(chat, 'models');
      await chat.getByRole('button', { name: 'Load alpha' }).click();
      await chat.getByRole('button', { name: 'Unload alpha' }).waitFor();
      await chat.getByRole('link', { name: 'Chat', exact: true }).click();
      await chat.getByRole('heading', { name: 'alpha is loaded' }).waitFor();
      await give(chat, endless('Once upon a time'));
      await chat.getByRole('button', { name: 'Continue' }).click();
      await grows(chat, 60);
      const page = await open();
      await page.getByRole('button', { name: 'Load beta' }).click();
      await page.getByRole('button', { name: 'Unload beta' }).waitFor();
      await page.getByRole('button', { name: 'Unload alpha' }).waitFor();
      await grows(chat, await answered(chat));
      await chat.getByRole('button', { name: 'Stop' }).click();
      await page.getByRole('button', { name: 'Unload alpha' }).click();
      await page.getByRole('button', { name: 'Load alpha' }).waitFor();
      await page.context().close();
      await chat.context().close();
    } finally {
      await server.close();
      server = usual;
      rmSync(folder, { recursive: true });
    }
  });

  test('memory shows each region by name, and opens by the keyboard', async () => {
    const page = await visit();
    await page.getByRole('link', { name: 'Memory', exact: true }).click();
    await page.getByRole('button', { name: /layer 0 · weights/ }).focus();
    await page.keyboard.press('ArrowRight');
    await page.locator('.told', { hasText: 'layer 1 · weights' }).waitFor();
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: /blk\.1\.attn_norm\.weight · weights · .* · RAM/ }).waitFor();
    await page.getByText(/MiB held/).first().waitFor();
    await nothingSerious(page, 'memory');
    await page.getByRole('link', { name: 'Speed' }).click();
    await page.getByRole('heading', { name: 'Generation' }).waitFor();
    await nothingSerious(page, 'speed');
    await page.getByRole('link', { name: 'Notebook' }).click();
    await nothingSerious(page, 'notebook');
    await page.context().close();
  });

  test('hostile text is text', async () => {
    const page = await visit();
    const hostile = [
      '<script>window.bad = 1</script><img src=x onerror="window.bad = 2"><svg onload="window.bad = 3"></svg>',
      '[a](javascript:window.bad=4) ![p](http://example.com/x.png) <a href="https://example.com" onclick="window.bad=5">l</a>',
      '<form action="/x"><input name=q></form><style>body{display:none}</style><iframe src="/"></iframe>',
      '```html"><script>window.bad = 6</script>\n<script>window.bad = 7</script>\n```',
      '[ok](https://example.com/"onmouseover="window.bad=8)',
    ].join('\n\n');
    await give(page, { ...endless(hostile), title: '<img src=x onerror="window.bad = 9">' });
    const answer = answers(page).last();
    await answer.getByText('<iframe src="/"></iframe>', { exact: false }).waitFor();
    assert.equal(await page.evaluate(() => window.bad), undefined);
    const inside = await answer.evaluate((node) => ({
      elements: node.querySelectorAll('script, img, svg, form, input, style, iframe').length,
      links: [...node.querySelectorAll('a[href]')].map((a) => `${new URL(a.href).protocol} ${a.rel} ${a.target}`),
      handlers: [...node.querySelectorAll('*')].filter((e) => [...e.attributes].some((a) => a.name.startsWith('on'))).length,
    }));
    assert.deepEqual([inside.elements, inside.handlers], [0, 0]);
    for (const link of inside.links) assert.equal(link, 'https: noopener noreferrer _blank');
    assert.ok(await page.evaluate(() => getComputedStyle(document.body).display !== 'none'));
    await page.context().close();
  });

  test('the keyboard alone is enough, on a narrow dark screen', async () => {
    const page = await visit({ viewport: { width: 360, height: 740 }, colorScheme: 'dark' });
    for (let i = 0; i < 40; ++i) {
      await page.keyboard.press('Tab');
      if (await page.evaluate(() => document.activeElement?.getAttribute('aria-label') === 'Message')) break;
    }
    await page.keyboard.type('Hello');
    await page.keyboard.press('Enter');
    await done(page);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= 360), 'nothing is wider than the screen');
    await nothingSerious(page, 'narrow and dark');
    await page.context().close();
  });

  test('two thousand messages are opened and written on', async () => {
    const page = await visit();
    const messages = {};
    for (let i = 0; i < 2000; ++i) {
      messages[`m${i}`] = { parent: i ? `m${i - 1}` : null, role: i % 2 ? 'assistant' : 'user', text: `**message** ${i}` };
    }
    await give(page, { id: 'many', title: 'many', messages, leaf: 'm1999' });
    await answers(page).last().getByText('message 1999').waitFor();
    const shown = await page.getByRole('article').count();
    assert.ok(shown > 10 && shown <= 200, `${shown} are drawn at first`);
    await page.getByRole('button', { name: /Show earlier messages/ }).click();
    assert.ok((await page.getByRole('article').count()) > shown);
    await page.context().close();
  });

  test('a server that goes away and comes back is found again', async () => {
    const page = await visit();
    await message(page).fill('not lost');
    const port = Number(new URL(server.url).port);
    await server.close();
    await page.getByText('The server does not answer; it is asked again').waitFor();
    server = await serve(port);
    await page.getByText('The server does not answer; it is asked again').waitFor({ state: 'detached' });
    assert.equal(await message(page).inputValue(), 'not lost');
    await page.keyboard.press('Enter');
    await done(page);
    await page.context().close();
  });

  test('no script failed, and nobody else was asked for anything', () => assert.deepEqual(errors, []));
}
