// Figures of the page in Debian's Chromium, with the demo model: first paint, what it costs while idle and while an answer
// streams in at 50 tok/s, and what live updates cost generation. `./dev bench page [--seconds N] [--only PART]`, a part
// being paint, whatif, idle, streaming or updates (of `--model FILE`, else the demo); the program is $LOADLINE_PROGRAM.
// Ends with 1 where a figure is over what the page is allowed.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { launch, program, proxy, serve } from '../tests/web/support.mjs';

const given = (name) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined);
const seconds = Number(given('--seconds') ?? 20);
const wants = (part) => [undefined, part].includes(given('--only'));
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
let failed = 0;

function tell(what, value, unit, most) {
  const over = most !== undefined && !(value <= most);
  failed += over;
  const allowed = most === undefined ? '' : `   (at most ${most} ${unit}${over ? ': TOO MUCH' : ''})`;
  console.log(`${what.padEnd(66)} ${value.toFixed(value < 10 ? 2 : 0).padStart(7)} ${unit}${allowed}`);
}

// Seconds of processor time of a process.
function processorTime(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

// What a visit comes to, each in a fresh context.
async function visits(browser, url, look) {
  const found = [];
  for (let i = 0; i < 7; ++i) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    await page.goto(url);
    found.push(await look(page));
    await context.close();
  }
  return found;
}

async function paint(page) {
  await page.waitForFunction(() => performance.getEntriesByName('first-contentful-paint').length > 0);
  return page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0].startTime);
}

// Until one can write. What looks for it is the page's own next frame.
async function ready(page) {
  await page.locator('textarea').waitFor();
  return page.evaluate(() => performance.now());
}

async function firstPaint(browser, server) {
  const word = http.createServer((_, response) => response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><p>word'));
  await new Promise((done) => word.listen(0, '127.0.0.1', done));
  const floor = await visits(browser, `http://127.0.0.1:${word.address().port}`, paint);
  word.close();
  const times = await visits(browser, server.url, paint);
  tell('first paint with something to see, of 7 visits the median', median(times), 'ms', 300);
  tell('  the slowest', Math.max(...times), 'ms');
  tell('  of a page that is one word, in the same browser', median(floor), 'ms');
  tell('ready to write in', median(await visits(browser, server.url, ready)), 'ms');
}

// What a page did between two looks, as shares of one core.
async function watch(browser, page, whole, work) {
  const session = await page.context().newCDPSession(page);
  const system = await browser.newBrowserCDPSession();
  await session.send('Performance.enable');
  const look = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    const { processInfo } = await system.send('SystemInfo.getProcessInfo');
    return { metrics: Object.fromEntries(metrics.map((one) => [one.name, one.value])), processInfo, time: performance.now() / 1000 };
  };
  const before = await look();
  await work();
  const after = await look();
  const wall = after.time - before.time;
  const share = (...names) => (100 * names.reduce((sum, name) => sum + after.metrics[name] - before.metrics[name], 0)) / wall;
  const started = new Map(before.processInfo.map((one) => [one.id, one.cpuTime]));
  const times = after.processInfo.map((one) => ({ type: one.type, share: (100 * (one.cpuTime - (started.get(one.id) ?? 0))) / wall }));
  const of = (type) => times.filter((one) => one.type === type).reduce((sum, one) => sum + one.share, 0);
  return {
    work: share('ScriptDuration', 'RecalcStyleDuration', 'LayoutDuration'),
    script: share('ScriptDuration'),
    style: share('RecalcStyleDuration'),
    layout: share('LayoutDuration'),
    tasks: share('TaskDuration'),
    renderer: of('renderer'),
    all: times.reduce((sum, one) => sum + one.share, 0),
    whole,
  };
}

async function open(browser, url, view) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  await page.goto(`${url}/#${view}`);
  await page.locator('.status.live').waitFor();
  return page;
}

async function idle(browser, server) {
  for (const view of ['chat', 'memory', 'speed']) {
    const page = await open(browser, server.url, view);
    await pause(2000);
    const used = processorTime(server.pid);
    const seen = await watch(browser, page, 0, () => pause(seconds * 1000));
    tell(`idle, ${view}: the page (its renderer), of one core`, seen.renderer, '%', 1);
    tell(`  of that script, style and layout`, seen.work, '%');
    tell(`  Chromium with all its processes`, seen.all, '%');
    tell(`  the server`, (100 * (processorTime(server.pid) - used)) / seconds, '%');
    await page.context().close();
  }
}

// Markdown as answers have it; a word is taken for a token.
const kAnswer = (
  'Here is what a **load line** is, in short. It is a mark on the hull of a ship that shows how deep she may lie in the water.\n\n' +
  '- In *fresh* water she lies deeper than in the sea.\n- In winter she must carry less.\n- The mark is seen from the quay.\n\n' +
  '```python\ndef draught(mass, area, density=1025.0):\n    """How deep a box lies."""\n    return mass / (area * density)\n```\n\n' +
  '| water | density |\n| --- | --- |\n| sea | 1025 |\n| river | 1000 |\n\n## And so\n\nA plan that `fits` is one whose line is above the water. '
)
  .split(/(?<=\s)/)
  .filter(Boolean);

// An answer at 50 tok/s, and a server that says so.
async function streaming(browser, server) {
  let made = 0;
  const idle = await server.get('/api/loadline/state');
  const state = () => ({
    ...idle,
    activity: { ...idle.activity, generated_tokens: idle.activity.generated_tokens + made, passes: made },
    held: idle.held + (made % 7) * 4096,
    places: [{ state: 'generating', id: 1, begun: true, prompt_tokens: 20, prompt_read: 20, cached_tokens: 0, generated_tokens: made, cells: 20 + made }],
    cache: { ...idle.cache, held_pages: Math.ceil((20 + made) / idle.cache.page_cells) },
  });
  const front = await proxy(server, {
    answer: (request, response) => {
      if (request.url === '/api/loadline/events') {
        // As often as from a server that is at work.
        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        const tell = () => response.write(`event: state\ndata: ${JSON.stringify(state())}\n\n`);
        tell();
        const timer = setInterval(tell, 250);
        response.on('close', () => clearInterval(timer));
        return true;
      }
      if (request.url !== '/v1/chat/completions') return false;
      let body = '';
      request.on('data', (data) => (body += data));
      request.on('end', () => {
        const { logprobs } = JSON.parse(body);
        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        const begin = performance.now();
        made = 0;
        const timer = setInterval(() => {
          for (const due = (performance.now() - begin) / 20; made < due; ++made) {
            const token = kAnswer[made % kAnswer.length];
            const one = { token, logprob: -0.5, bytes: [], top_logprobs: [1, 2, 3, 4, 5].map((n) => ({ token: `t${n} `, logprob: -n, bytes: [] })) };
            const choice = { index: 0, delta: { content: token }, ...(logprobs ? { logprobs: { content: [one] } } : {}), finish_reason: null };
            response.write(`data: ${JSON.stringify({ id: 'a', object: 'chat.completion.chunk', model: 'demo', choices: [choice] })}\n\n`);
          }
        }, 20);
        response.on('close', () => clearInterval(timer));
      });
      return true;
    },
  });
  for (const chances of [false, true]) {
    const page = await open(browser, front.url, 'chat');
    if (chances) await page.getByRole('button', { name: 'Chances' }).click();
    await page.getByRole('button', { name: 'What can you do?' }).click();
    await page.getByRole('button', { name: 'Stop' }).waitFor();
    await pause(2000);
    const seen = await watch(browser, page, 0, () => pause(seconds * 1000));
    const how = chances ? '50 tok/s with their chances' : '50 tok/s';
    tell(`${how}: script, style and layout, of one core`, seen.work, '%', chances ? undefined : 3);
    tell(`  script ${seen.script.toFixed(2)}, style ${seen.style.toFixed(2)}, layout ${seen.layout.toFixed(2)}; all tasks`, seen.tasks, '%');
    tell('  tokens sent', made, '');
    tell('  of them shown', await page.evaluate(() => Number(/Answering · ([\d,]+) tokens/.exec(document.body.innerText)[1].replace(',', ''))), '');
    await page.context().close();
  }
  await front.close();
}

// From a slider's move to the plan that is seen.
async function whatIf(browser, server) {
  const page = await open(browser, server.url, 'whatif');
  await page.locator('.figures').waitFor();
  await page.waitForFunction(() => !document.querySelector('[aria-busy=true]'));
  const times = [];
  for (let i = 0; i < 9; ++i) {
    await pause(1200); // until what would be faster has come too
    times.push(
      await page.evaluate(async (step) => {
        const slider = document.querySelector('.controls input[type=range]');
        const before = document.querySelector('.figures').innerText;
        const begin = performance.now();
        slider.value = String(Number(slider.value) + step);
        slider.dispatchEvent(new Event('input', { bubbles: true }));
        while (document.querySelector('.figures')?.innerText === before) await new Promise(requestAnimationFrame);
        return performance.now() - begin;
      }, i % 2 ? 1 : -1),
    );
  }
  tell("from a slider's move to its plan, of 9 the median", median(times), 'ms', 150);
  await page.context().close();
}

// Generation with and without somebody who follows the state and looks at the cache, in turns: answers of about a
// second, so that it is following that is measured, and not beginning to.
async function updates() {
  const model = given('--model');
  // One answer fills the cache: where its pages lie is the same for all.
  const server = await serve('-c', '8192', '-np', '1', ...(model ? ['-m', model] : []));
  const generate = async (tokens) => {
    const body = { prompt: 'Once upon a time', n_predict: tokens, ignore_eos: true, cache_prompt: false };
    return (await (await fetch(`${server.url}/completion`, { method: 'POST', body: JSON.stringify(body) })).json()).timings.predicted_per_second;
  };
  const follow = () => {
    const stop = new AbortController();
    const read = async () => {
      const { body } = await fetch(`${server.url}/api/loadline/events`, { signal: stop.signal });
      for await (const _ of body);
    };
    const look = () => void fetch(`${server.url}/api/loadline/cache`).then((one) => one.text(), () => undefined);
    const timer = setInterval(look, 1000);
    look();
    read().catch(() => undefined);
    return () => {
      clearInterval(timer);
      stop.abort();
    };
  };
  // About a second each, whatever the model, in the order alone, followed, followed, alone: what drifts is the same for both.
  const tokens = Math.min(8000, Math.round(await generate(16)));
  const alone = () => generate(tokens);
  const followed = async () => {
    const leave = follow();
    const rate = await generate(tokens);
    leave();
    return rate;
  };
  await alone();
  const costs = [];
  const noise = [];
  let last = 0;
  const began = performance.now();
  while (costs.length < 7 || performance.now() - began < 5000 * seconds) {
    const first = await alone();
    last = ((await followed()) + (await followed())) / 2;
    const again = await alone();
    costs.push(100 * (1 - (2 * last) / (first + again)));
    noise.push(100 * Math.abs(1 - first / again));
  }
  tell(`live updates cost generation (at ${last.toFixed(0)} tok/s, of ${costs.length} the median)`, median(costs), '%', 1);
  tell('... beside which two runs with nobody following differ by', median(noise), '%');
  await server.close();
}

console.log(`${program}\n`);
const server = await serve();
const browser = await launch();
try {
  if (wants('paint')) await firstPaint(browser, server);
  if (wants('whatif')) await whatIf(browser, server);
  if (wants('idle')) await idle(browser, server);
  if (wants('streaming')) await streaming(browser, server);
} finally {
  await browser.close();
  await server.close();
}
if (wants('updates')) await updates();
process.exit(failed > 0 ? 1 : 0);
