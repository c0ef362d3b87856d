// Tests of conversations beyond the first answer: what a model saw and how sure it was, stories, character cards, several
// side by side; page.test.mjs runs them.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import zlib from 'node:zlib';
import { serve } from './support.mjs';

// A picture of one pixel with a character card in it.
function cardPicture(card) {
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
    const out = Buffer.alloc(8 + body.length);
    out.writeUInt32BE(data.length, 0);
    body.copy(out, 4);
    out.writeUInt32BE(zlib.crc32 ? zlib.crc32(body) : crc(body), 4 + body.length);
    return out;
  };
  const header = Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0]);
  const words = Buffer.concat([Buffer.from('chara\0', 'latin1'), Buffer.from(Buffer.from(JSON.stringify(card)).toString('base64'), 'latin1')]);
  const pixel = zlib.deflateSync(Buffer.from([0, 200, 30, 30]));
  return Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk('IHDR', header), chunk('tEXt', words), chunk('IDAT', pixel), chunk('IEND', Buffer.alloc(0))]);
}

// PNG's check of a chunk, for a Node.js that has none.
function crc(bytes) {
  let c = ~0;
  for (const byte of bytes) {
    c ^= byte;
    for (let i = 0; i < 8; ++i) c = (c >>> 1) ^ (c & 1 ? 0xedb88320 : 0);
  }
  return ~c >>> 0;
}

const kCard = {
  spec: 'chara_card_v2',
  spec_version: '2.0',
  data: {
    name: 'Greta <b>',
    description: '{{char}} is a lighthouse keeper. {{user}} visits.',
    personality: 'calm',
    scenario: 'a storm',
    first_mes: 'Come in, {{user}}.',
    alternate_greetings: ['Who is there?'],
    mes_example: '',
    system_prompt: '',
    post_history_instructions: 'Speak as a keeper would.',
    creator: 'somebody',
    creator_notes: 'Made for <i>a test</i>.',
    character_book: { entries: [{ keys: ['lamp'], content: 'The lamp burns whale oil.', enabled: true }, { keys: ['lamp'], content: 'never', enabled: false }] },
  },
};

export function chatTests({ visit, done, message, answers, give, endless, nothingSerious, free }) {
  // The body of the next request to this path.
  const asked = async (page, path, act) => {
    const [request] = await Promise.all([page.waitForRequest((one) => new URL(one.url()).pathname === path), act()]);
    return request.postDataJSON();
  };

  test('while one types, tokens, what is cached, what is left and the time to the first token are told', async () => {
    const page = await visit();
    await message(page).fill('Tell me of the sea, of ships and of harbours.');
    await page.getByText(/\d+ tokens so far, \d+ cached · 65,\d+ of 65,536 left · .* to the first token/).waitFor();
    await message(page).press('Enter');
    await done(page);
    await page.getByText(/tokens so far, [1-9]\d* cached/).waitFor(); // what was said is there already
    await page.context().close();
  });

  test('the tokens that a model saw are shown, and which are cached', async () => {
    const page = await visit();
    await message(page).fill('Tell me of the sea.');
    await message(page).press('Enter');
    await done(page);
    await page.getByRole('button', { name: 'Tokens', exact: true }).click();
    const tokens = page.getByRole('group', { name: /^Tokens that the model sees/ });
    await tokens.locator('.cached').first().waitFor();
    assert.match(await tokens.innerText(), /Tell me of the sea\./);
    await tokens.focus();
    await page.keyboard.press('ArrowRight');
    await page.getByText(/^token \d+, number 1, in the cache/).waitFor();
    await message(page).fill('And what else is there?');
    await tokens.locator('span:not(.cached)').first().waitFor(); // which nobody has read yet
    await nothingSerious(page, 'tokens');
    await page.context().close();
  });

  test('chances of tokens are told for the one that is pointed at', async () => {
    const page = await visit();
    await page.getByRole('button', { name: 'Chances' }).click();
    await page.getByRole('button', { name: 'Tell me a story' }).click();
    await done(page);
    const tokens = answers(page).getByRole('group', { name: /^Tokens of the answer/ });
    const spans = tokens.locator('span');
    assert.ok((await spans.count()) > 3);
    await spans.nth(1).hover();
    await answers(page).getByText(/^“.*” [\d.]+ % · of “.*” [\d.]+ %, “/).waitFor();
    await nothingSerious(page, 'chances');
    await page.getByRole('button', { name: 'Chances' }).click();
    await tokens.waitFor({ state: 'detached' });
    await page.context().close();
  });

  test('an answer is tried again, gone on with, and branched off from', async () => {
    const page = await visit();
    await give(page, { ...endless('Once'), sampling: { max_tokens: 12, ignore_eos: true } });
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByText('cut at the length allowed').waitFor();
    const first = await answers(page).last().innerText();
    assert.match(first, /Once./);
    await page.getByRole('button', { name: 'Retry' }).click();
    await page.getByText('2/2').waitFor();
    await page.getByText('cut at the length allowed').waitFor();
    await message(page).fill('And then?');
    await message(page).press('Enter');
    await page.getByRole('button', { name: 'Branch here' }).waitFor();
    await page.getByRole('button', { name: 'Stop' }).waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Branch here' }).click();
    assert.equal(await answers(page).count(), 1);
    await page.getByRole('button', { name: 'Show what followed' }).click();
    assert.equal(await answers(page).count(), 2);
    await page.getByRole('button', { name: 'Branch here' }).click();
    await message(page).fill('Or else?');
    await message(page).press('Enter');
    await page.getByRole('article', { name: 'You' }).last().getByText('2/2').waitFor();
    await page.context().close();
  });

  test('two conversations are answered side by side', async () => {
    const page = await visit();
    await give(page, endless('Once upon a time'));
    await page.getByRole('button', { name: 'Beside' }).click();
    const [left, right] = [page.getByRole('region', { name: 'Chat 1' }), page.getByRole('region', { name: 'Chat 2' })];
    await right.getByRole('button', { name: 'Tell me a story' }).click();
    await left.getByRole('button', { name: 'Continue' }).click();
    await left.getByRole('button', { name: 'Stop' }).waitFor();
    await right.getByRole('button', { name: 'Retry' }).waitFor(); // is done while the other goes on
    await left.getByRole('button', { name: 'Stop' }).waitFor();
    await nothingSerious(page, 'side by side');
    await left.getByRole('button', { name: 'Stop' }).click();
    await right.getByRole('button', { name: 'Close this pane' }).click();
    await page.getByRole('region', { name: 'Chat', exact: true }).waitFor();
    await free();
    await page.context().close();
  });

  test('conversations are exported and imported as they were', async () => {
    const page = await visit();
    const given = { ...endless('Once **upon** a time'), system: 'Be brief.', story: { note: 'rain', depth: 2, world: [{ keys: ['ship'], also: [], text: 'Ships fly.', always: false }] } };
    await give(page, given);
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Export' }).click()]);
    const text = readFileSync(await download.path(), 'utf8');
    await page.getByRole('button', { name: 'Delete given' }).click();
    await page.getByRole('heading', { name: 'New conversation' }).waitFor();
    await page.locator('input[type=file]').setInputFiles({ name: 'a.json', mimeType: 'application/json', buffer: Buffer.from(text) });
    await page.getByRole('heading', { name: 'given', exact: true }).waitFor();
    await answers(page).getByText('upon').waitFor();
    const [again] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Export' }).click()]);
    const plain = (json) => JSON.parse(json).conversations.map(({ updated, ...rest }) => rest);
    assert.deepEqual(plain(readFileSync(await again.path(), 'utf8')), plain(text));
    assert.equal(plain(text)[0].story.world[0].text, 'Ships fly.');
    assert.deepEqual([plain(text)[0].system, plain(text)[0].messages.a.text], ['Be brief.', 'Once **upon** a time']);
    await page.context().close();
  });

  test('a character card is read from a picture and from JSON, and shown', async () => {
    for (const file of [
      { name: 'greta.png', mimeType: 'image/png', buffer: cardPicture(kCard) },
      { name: 'greta.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify(kCard)) },
    ]) {
      const page = await visit();
      await page.locator('input[type=file]').setInputFiles(file);
      const card = page.getByRole('region', { name: 'The character Greta <b>' });
      await card.getByText('Made for <i>a test</i>.').waitFor();
      assert.equal(await card.getByRole('img').count(), file.name.endsWith('png') ? 1 : 0);
      await answers(page).getByText('Come in, You.').waitFor();
      await page.getByRole('button', { name: 'The next branch' }).click();
      await answers(page).getByText('Who is there?').waitFor();
      await nothingSerious(page, 'card');
      const body = await asked(page, '/v1/chat/completions', async () => {
        await message(page).fill('Is the lamp lit?');
        await message(page).press('Enter');
      });
      assert.match(body.messages[0].content, /Greta <b> is a lighthouse keeper. You visits.[^]*whale oil/);
      assert.ok(!body.messages[0].content.includes('never'));
      assert.match(body.messages.at(-1).content, /Speak as a keeper would[^]*Is the lamp lit\?/);
      await page.reload();
      await page.getByRole('button', { name: 'Greta <b>', exact: true }).click();
      await card.waitFor();
      await page.context().close();
    }
  });

  test('a file that is no card and no conversation is refused in words', async () => {
    const page = await visit();
    const broken = cardPicture(kCard).subarray(0, 90);
    await page.locator('input[type=file]').setInputFiles({ name: 'broken.png', mimeType: 'image/png', buffer: broken });
    await page.getByText('broken.png is neither a file of conversations nor a character card').waitFor();
    await page.context().close();
  });

  test('a story is gone on with by memory, author\'s note and world info', async () => {
    const page = await visit();
    await page.getByRole('link', { name: 'Notebook' }).click();
    await page.getByText('Story: memory').click();
    await page.getByRole('textbox', { name: /^Memory/ }).fill('Heron is a ferry.');
    await page.getByRole('textbox', { name: "Author's note" }).fill('It is night.');
    await page.getByLabel('so many lines before the end').fill('1');
    await page.keyboard.press('Tab');
    await page.getByRole('button', { name: 'Add an entry' }).click();
    await page.getByRole('textbox', { name: 'Words' }).fill('pier, quay');
    await page.keyboard.press('Tab');
    await page.getByRole('textbox', { name: 'What is told by entry 1' }).fill('The pier is haunted.');
    const text = page.getByRole('textbox', { name: 'Text', exact: true });
    await text.fill('One evening\nthey looked at the spier');
    await page.getByText('Told now: 0 of 1').waitFor(); // a word within another is none
    await text.fill('One evening\nthey looked at the Pier.');
    await page.getByText('Told now: 1 of 1').waitFor();
    await nothingSerious(page, 'story');
    const body = await asked(page, '/completion', () => page.getByRole('button', { name: 'Go on' }).click());
    assert.equal(body.prompt, 'Heron is a ferry.\nThe pier is haunted.\nOne evening\n[It is night.]\nthey looked at the Pier.');
    await page.getByRole('button', { name: 'Go on' }).waitFor();
    await page.getByLabel('Show tokens').check();
    await page.getByRole('group', { name: /^Tokens of the text/ }).filter({ hasText: 'haunted' }).waitFor();
    await page.reload();
    await page.getByText('Story: memory').click();
    assert.equal(await page.getByRole('textbox', { name: 'What is told by entry 1' }).inputValue(), 'The pier is haunted.');
    await page.context().close();
  });

  test('of a story that is longer than the context the beginning is left out, and never the memory', async () => {
    const own = await serve('-c', '512');
    const page = await visit({}, own.url);
    await page.getByRole('link', { name: 'Notebook' }).click();
    await page.getByText('Story: memory').click();
    await page.getByRole('textbox', { name: /^Memory/ }).fill('Heron is a ferry.');
    await page.getByLabel('Tokens', { exact: true }).fill('20');
    const lines = Array.from({ length: 200 }, (_, i) => `On day ${i} they saw a whale and a crab.`);
    await page.getByRole('textbox', { name: 'Text', exact: true }).fill(lines.join('\n'));
    const body = await asked(page, '/completion', () => page.getByRole('button', { name: 'Go on' }).click());
    await page.getByText(/^\d+ tokens, .*tok\/s/).waitFor();
    const sent = body.prompt.split('\n');
    assert.equal(sent[0], 'Heron is a ferry.');
    assert.equal(sent.at(-1), lines.at(-1));
    assert.ok(sent.length > 10 && sent.length < 100, `${sent.length} lines`);
    assert.ok(lines.includes(sent[1]), 'it begins with a whole line');
    await page.context().close();
    await own.close();
  });
}
