// The page in a browser, against the program itself with the demo model: from the first visit to the first answer, stop,
// branches, what does not fit, hostile text, the keyboard alone, a server that goes away. `node page.test.mjs`; the
// program is $LOADLINE_PROGRAM. `--test-name-pattern WORDS` (to node) runs some. Pictures: pictures.mjs.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import test, { after, before } from 'node:test';
import { chatTests } from './chat.tests.mjs';
import { memoryTests } from './memory.tests.mjs';
import { kPatience, launch, proxy, root, serve, until } from './support.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
let server;
let browser;
const errors = [];

async function visit(options = {}, url = server.url, ready = true) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(kPatience);
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('dialog', (dialog) => dialog.accept());
  // Nothing but the server is ever asked for anything.
  page.on('request', (request) => {
    const { protocol, origin } = new URL(request.url());
    if (protocol !== 'data:' && protocol !== 'blob:' && origin !== new URL(url).origin) errors.push(`asked for ${request.url()}`);
  });
  await page.goto(url);
  if (ready) await page.getByRole('heading', { name: 'demo is loaded' }).waitFor();
  return page;
}

const message = (page) => page.getByRole('textbox', { name: 'Message', exact: true });
const answers = (page) => page.getByRole('article', { name: 'Answer' });
const done = (page) => page.getByRole('button', { name: 'Retry' }).last().waitFor();
const rests = (page) => page.waitForFunction(() => !document.querySelector('[aria-busy=true]'));
const free = (from = server) => until(async () => (await from.get('/api/loadline/state')).places.every((place) => place.state === 'idle'));

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

before(async () => {
  server = await serve();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.close();
});

test('a first visit comes to an answer, an edit to a branch beside it', async () => {
  const page = await visit();
  await nothingSerious(page, 'first visit');
  await page.getByRole('button', { name: 'Tell me a story' }).click();
  await done(page);
  assert.equal(await answers(page).count(), 1);
  await page.getByText(/\d+ tokens, .* tok\/s/).waitFor();
  await page.getByText(/of 65,536 left/).waitFor();

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

test('before the script has run, the page is there as it will be', async () => {
  const head = (page) => page.evaluate(() => document.querySelector('header').innerHTML.replaceAll(/ (?:aria-current|title)="[^"]*"/g, ''));
  const without = await visit({ javaScriptEnabled: false }, server.url, false);
  await without.getByText('connecting …').waitFor();
  const before = await head(without);
  await without.context().close();
  const answer = (request, response) => request.url.startsWith('/api/') && Boolean(response.writeHead(503).end());
  const front = await proxy(server, { answer });
  const page = await visit({}, front.url, false);
  await message(page).waitFor();
  assert.equal(await head(page), before);
  await page.context().close();
  await front.close();
});

test('while an answer streams in, what stands is not drawn again', async () => {
  let say;
  const front = await proxy(server, {
    answer: (request, response) => {
      if (request.url !== '/v1/chat/completions') return false;
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      say = (content, finish_reason = null) => response.write(`data: ${JSON.stringify({ choices: [{ delta: { content }, finish_reason }] })}\n\n`);
      say('A *first* paragraph.\n\n- one\n- two\n\nThe [last](https://example.com/');
      return true;
    },
  });
  const page = await visit({}, front.url);
  await page.getByRole('button', { name: 'Tell me a story' }).click();
  const answer = answers(page).last();
  await answer.getByText('The [last](https://example.com/').waitFor();
  await page.evaluate(() => (window.before = [...document.querySelectorAll('.md')]));
  say(') one ');
  await answer.getByRole('link', { name: 'last' }).waitFor();
  say('goes on.\n\n| a |\n| --- |\n| <img src=x onerror="window.bad = 1"> |\n');
  await answer.getByRole('cell', { name: '<img' }).waitFor();
  assert.deepEqual(await page.evaluate(() => window.before.map((one) => one.isConnected)), [true, true, true]);
  assert.equal(await page.evaluate(() => document.querySelectorAll('.md > *').length), 4);
  say('', 'stop');
  await page.context().close();
  await front.close();
});

test('stop is felt at once, and the server stops too', async () => {
  const page = await visit();
  await give(page, endless('Once upon a time'));
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('button', { name: 'Stop' }).waitFor();
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
  await free();
  await page.context().close();

  // Not only with the next piece of the answer: here none comes.
  const answer = (request, response) => request.url === '/v1/chat/completions' && (response.writeHead(200, { 'Content-Type': 'text/event-stream' }).flushHeaders(), true);
  const front = await proxy(server, { answer });
  const silent = await visit({}, front.url);
  const asked = (one) => one.url().endsWith('/v1/chat/completions');
  await Promise.all([silent.waitForEvent('response', asked), silent.getByRole('button', { name: 'Tell me a story' }).click()]);
  await Promise.all([silent.waitForEvent('requestfailed', asked), silent.getByRole('button', { name: 'Stop' }).click()]);
  await silent.context().close();
  await front.close();
});

test('what does not fit is drawn as a bar that overflows, and its fix is a press away', async () => {
  const page = await visit();
  await page.getByRole('link', { name: 'What if' }).click();
  await page.getByRole('heading', { name: 'What would be faster' }).or(page.getByText('bound by').first()).first().waitFor();
  await page.getByLabel('RAM budget, as text').fill('8MiB');
  await page.keyboard.press('Enter');
  await page.getByText('It does not fit').waitFor();
  await page.getByText(/more than the budget of 8.00 MiB/).waitFor();
  assert.equal(await page.locator('.whole.over .excess').count(), 1);
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
  const { tiers } = await server.get('/api/loadline/state');
  const less = (tiers[0].planned - tiers[0].purposes.weights / 4) / 2 ** 20;
  await page.getByLabel('RAM budget, as text').fill(`${less.toFixed(1)}MiB`);
  await page.keyboard.press('Enter');
  await page.getByText(/loadline serve .*--ram/).waitFor();
  await rests(page);
  await page.getByRole('button', { name: 'Load this' }).click();
  await page.getByText(/answers go on/, { exact: false }).last().waitFor();
  await until(async () => (await server.get('/api/loadline/state')).change?.state === 'done');
  await grows(chat, await answered(chat));
  await chat.getByRole('button', { name: 'Stop' }).click();
  await page.context().close();
  await chat.context().close();
});

test('another model is loaded while a chat goes on in another tab', async () => {
  const folder = mkdtempSync(`${tmpdir()}/loadline-models-`);
  const models = `${root}models/`;
  symlinkSync(`${models}demo-chat.gguf`, `${folder}/alpha.gguf`);
  symlinkSync(`${models}demo.gguf`, `${folder}/beta.gguf`);
  writeFileSync(`${folder}/broken.gguf`, 'no model');
  const usual = server;
  server = await serve('--models', folder);
  try {
    const open = () => visit({}, `${server.url}/#models`, false);
    const chat = await open();
    await chat.getByRole('cell', { name: /tok\/s/ }).first().waitFor();
    await chat.getByRole('row').filter({ has: chat.getByRole('rowheader', { name: 'broken' }) }).locator('.error').waitFor(); // why
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
  assert.ok(inside.links.length > 0);
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

test('the end of an answer stays in sight when there is less room', async () => {
  const page = await visit();
  await give(page, endless('a line\n\n'.repeat(80)));
  const seen = () =>
    page.waitForFunction(() => {
      const { scrollHeight, scrollTop, clientHeight } = document.querySelector('.messages');
      return scrollTop > 0 && scrollHeight - scrollTop - clientHeight < 2;
    });
  await seen();
  await page.setViewportSize({ width: 1280, height: 500 });
  await page.waitForFunction(() => window.innerHeight === 500);
  await seen();
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
  // Writing draws nothing of the messages again.
  await page.evaluate(() => {
    window.drawn = 0;
    const watch = new MutationObserver((list) => (window.drawn += list.length));
    watch.observe(document.querySelector('.messages'), { childList: true, subtree: true, characterData: true, attributes: true });
  });
  await message(page).pressSequentially('And so it goes on');
  await page.getByText(/\d+ tokens so far/).waitFor();
  assert.equal(await page.evaluate(() => window.drawn), 0);
  await page.context().close();
});

test('a server that goes away and comes back is found again', async () => {
  const first = await serve();
  const front = await proxy(first);
  const page = await visit({}, front.url);
  await message(page).fill('not lost');
  front.to(null);
  await first.close();
  await page.getByText('The server does not answer; it is asked again').waitFor();
  const second = await serve();
  front.to(second);
  await page.getByText('The server does not answer; it is asked again').waitFor({ state: 'detached' });
  assert.equal(await message(page).inputValue(), 'not lost');
  await message(page).press('Enter');
  await done(page);
  await page.context().close();
  await front.close();
  await second.close();
});

test("a model's hostile names are text", async () => {
  const name = '<img src=x onerror="window.bad=1">';
  const folder = mkdtempSync(`${tmpdir()}/loadline-models-`);
  symlinkSync(`${root}models/demo-chat.gguf`, `${folder}/${name}.gguf`);
  writeFileSync(`${folder}/<script>window.bad=2<|script>.gguf`, 'no model');
  const own = await serve('--models', folder);
  const page = await visit({}, `${own.url}/#models`, false);
  await page.getByRole('rowheader', { name }).waitFor();
  await page.getByRole('button', { name: `Load ${name}` }).click();
  await page.getByRole('button', { name: `Unload ${name}` }).waitFor();
  for (const view of ['Chat', 'Memory', 'What if', 'Speed']) {
    await page.getByRole('link', { name: view, exact: true }).click();
    if (view === 'Chat') await page.getByRole('heading', { name: `${name} is loaded` }).waitFor();
    if (view === 'What if') await page.getByText("-m '<img").waitFor();
  }
  assert.equal(await page.locator('main img, main script, header img').count(), 0);
  assert.equal(await page.evaluate(() => window.bad), undefined);
  await page.context().close();
  await own.close();
  rmSync(folder, { recursive: true });
});

test('everything is reached by the keyboard alone', async () => {
  const page = await visit();
  // With Tab to what is called so.
  const reach = async (name) => {
    for (let i = 0; i < 200; ++i) {
      await page.keyboard.press('Tab');
      const here = await page.evaluate(() => {
        const { activeElement: at } = document;
        return at?.getAttribute('aria-label') ?? at?.labels?.[0]?.innerText ?? at?.innerText ?? '';
      });
      if (here.trim().startsWith(name)) return;
    }
    assert.fail(`${name} is not reached`);
  };
  await reach('Tell me a story');
  await page.keyboard.press('Enter');
  await done(page);
  await reach('Edit');
  await page.keyboard.press('Enter');
  await page.keyboard.type(' At night.');
  await reach('Send as a new branch');
  await page.keyboard.press('Enter');
  await page.getByText('2/2').waitFor();
  await done(page);
  await reach('What if');
  await page.keyboard.press('Enter');
  await page.getByText('bound by').first().waitFor();
  await reach('RAM budget, as text');
  await page.keyboard.type('8MiB');
  await page.keyboard.press('Enter');
  await page.getByText('It does not fit').waitFor();
  await rests(page);
  await page.getByRole('button', { name: /^Apply --ram/ }).first().waitFor();
  await reach('Apply --ram');
  await page.keyboard.press('Enter');
  await page.getByText('It does not fit').waitFor({ state: 'detached' });
  await reach('Skip to the content');
  await page.context().close();
});

const tools = { visit, done, message, answers, give, endless, nothingSerious, rests, free };
chatTests(tools);
memoryTests(tools);

test('no script failed, and nobody else was asked for anything', () => assert.deepEqual(errors, []));
