// Tests of what the page shows of memory, the cache and speed; page.test.mjs runs them.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import test from 'node:test';
import { program, proxy, serve, until } from './support.mjs';

export function memoryTests({ visit, get, done, message, nothingSerious, rests }) {
  test('the cache tells what it keeps, and a pinned text stays', async () => {
    const own = await serve('-c', '1024');
    const page = await visit({}, own.url);
    await message(page).fill('Tell me of the whale, the crab, the captain and of everything that they saw on the beach in the morning.');
    await message(page).press('Enter');
    await done(page);
    await page.getByRole('link', { name: 'Memory', exact: true }).click();
    const row = page.getByRole('row').filter({ hasText: 'whale' }).first();
    await row.getByRole('button', { name: /^Pin the text of \d+ tokens/ }).click();
    await row.getByText('Unpin').waitFor();
    await page.getByText(/of that pinned \d+/).waitFor();
    await nothingSerious(page, 'cache');
    for (let i = 0; i < 9; ++i) {
      const prompt = `In house number ${i} there lived a man who had ${i} cats, and every one of them liked fishes. `.repeat(6);
      await fetch(`${own.url}/completion`, { method: 'POST', body: JSON.stringify({ prompt, n_predict: 2 }) });
    }
    await page.getByText('What went, and why').click();
    await page.getByText(/unused for .* others needed its cells/).first().waitFor();
    await row.waitFor();
    assert.ok((await own.get('/api/loadline/cache')).texts.some((text) => text.beginning.includes('user') || text.pinned_tokens > 0));
    await row.getByText('Unpin').click();
    await until(async () => (await own.get('/api/loadline/cache')).pinned_pages === 0);
    await page.context().close();
    await own.close();
  });

  test('who waits is told with the bytes that are waited for', async () => {
    const own = await serve('-np', '1'); // with room for answers that do not end before they are told
    const page = await visit({}, own.url);
    const stop = new AbortController();
    const ask = (prompt) =>
      void fetch(`${own.url}/completion`, { method: 'POST', signal: stop.signal, body: JSON.stringify({ prompt, n_predict: 30000, ignore_eos: true, stream: true }) })
        .then((answer) => answer.text())
        .catch(() => undefined);
    await page.getByRole('link', { name: 'Memory', exact: true }).click();
    ask('Once upon a time');
    ask('There was a ship in the harbour');
    await page.getByText(/1 wait for a place: \d+ tokens, .*iB of the cache/).waitFor();
    stop.abort();
    await page.getByText('Nobody waits').waitFor();
    await page.context().close();
    await own.close();
  });

  test('an alarm has a button that does what can be done', async () => {
    const own = await serve('-t', '2');
    const verdict = { kind: 'starved', slowdown: 1.9, evidence: 'other programs had <b>half</b> of the processors', remedy: 'Close them, or use fewer threads.' };
    const front = await proxy(own, { event: (state) => ({ ...state, watch: { verdicts: [verdict] } }) });
    const page = await visit({}, front.url);
    await page.getByText('had <b>half</b> of the processors; answers take 1.9 times as long. Close them').waitFor();
    await nothingSerious(page, 'alarm');
    await page.getByRole('button', { name: 'Go on with 1 thread' }).click();
    await until(async () => (await own.get('/api/loadline/plan')).shape.threads === 1);
    await page.context().close();
    await front.close();
    await own.close();
  });

  test('a report has plan, figures, hardware, version and seed, and nothing that was said', async () => {
    const page = await visit({ permissions: ['clipboard-read', 'clipboard-write'] });
    await message(page).fill('A secret of mine');
    await message(page).press('Enter');
    await done(page);
    await page.getByRole('link', { name: 'Speed' }).click();
    await page.getByRole('button', { name: 'Copy a report' }).click();
    await page.getByText('Copied').waitFor();
    const text = await page.evaluate(() => navigator.clipboard.readText());
    for (const part of [/^loadline \d+\.\d+\.\d+$/m, /^processor: .*cores/m, /^plan: context 65536/m, /^predicted: /m, /^measured: /m, /seed \d+/, /^held: /m]) assert.match(text, part);
    assert.ok(!text.includes('secret'));
    await page.context().close();
  });

  test('the command that is shown does what the sliders say', async () => {
    const page = await visit();
    await page.getByRole('link', { name: 'What if' }).click();
    await page.getByText('bound by').first().waitFor();
    await page.getByLabel('Context, as a number').fill('2048');
    await page.keyboard.press('Enter');
    await page.getByLabel('Keys of the cache').selectOption('q8_0');
    await page.getByLabel('Values of the cache').selectOption('q8_0');
    await page.getByLabel('RAM budget, as text').fill('512MiB');
    await page.keyboard.press('Enter');
    await page.getByText(/-c 2048 -ctk q8_0 -ctv q8_0 .*--ram 512MiB/).waitFor();
    await page.getByText('of 512 MiB budget').waitFor();
    await rests(page);
    const command = await page.getByLabel('The command that does the same').innerText();
    const planned = await page.locator('section.tier .stats b').first().innerText();
    const words = command.trim().split(' ').slice(1);
    const child = spawn(program, [...words, '--port', '0', '--log-disable'], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const url = await new Promise((found) => child.stdout.once('data', (data) => found(String(data).trim())));
      let state;
      await until(async () => {
        const answer = await fetch(`${url}/api/loadline/state`);
        state = await answer.json();
        return answer.ok;
      });
      const [size, unit] = planned.split(' ');
      assert.equal(unit, 'MiB');
      assert.ok(Math.abs(state.tiers[0].planned / 2 ** 20 - Number(size)) < 0.51, `${state.tiers[0].planned} and ${planned}`);
    } finally {
      child.kill('SIGKILL');
    }
    await page.context().close();
  });
}
