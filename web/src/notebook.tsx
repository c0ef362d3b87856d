// Raw completion: one text that the model goes on with, and the tokens it sees. With memory, an author's note and the
// entries of a world it is a story.
import { computed, signal, useSignalEffect } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { announce } from './announce';
import { stream } from './api';
import { count, duration, rate } from './format';
import { lookAtText, Seen } from './generate';
import { context, modelName } from './live';
import { checkedStory, promptOf, promptWithin, Story, told } from './story';
import { paced } from './pace';
import { Tokens } from './tokens';
import { World } from './world';

const text = signal(localStorage.getItem('loadline.notebook') ?? '');
const memory = signal(localStorage.getItem('loadline.memory') ?? '');
const story = signal<Story>(readStory());
const length = signal(200);
const temperature = signal('');
const busy = signal<AbortController | null>(null);
const before = signal<string[]>([]); // texts to go back to
const figures = signal('');
const problem = signal('');
const seen = signal<Seen | null>(null);
const showTokens = signal(false);
const prompt = computed(() => promptOf(text.value, memory.value, story.value));
const kMostSeen = 2000; // tokens that are drawn

function readStory(): Story {
  try {
    const kept = JSON.parse(localStorage.getItem('loadline.story') ?? 'null');
    return checkedStory(kept ?? { note: localStorage.getItem('loadline.note') ?? '' });
  } catch {
    return checkedStory(null);
  }
}

function keep(): void {
  try {
    localStorage.setItem('loadline.notebook', text.value);
    localStorage.setItem('loadline.memory', memory.value);
    localStorage.setItem('loadline.story', JSON.stringify(story.value));
  } catch {
    problem.value = 'The browser has no room left to keep this text.';
  }
}

// The prompt as far as it fits, with room for what is to come.
async function fitting(stop: AbortSignal): Promise<string> {
  const most = Math.max(1, context.value - Math.min(length.value, Math.floor(context.value / 2)));
  const { prompt: made, cut } = await promptWithin(text.value, memory.value, story.value, most, async (one) => (await lookAtText(one, false, stop)).tokens);
  if (cut > 0) announce(`The story's first ${count(cut)} characters no longer fit, and are left out`, true);
  return made;
}

async function go(): Promise<void> {
  if (busy.value || !modelName.value) return;
  const stop = new AbortController();
  busy.value = stop;
  before.value = [...before.value.slice(-20), text.value];
  problem.value = '';
  let more = '';
  const start = text.value;
  const show = () => (text.value = start + more);
  try {
    const body: Record<string, unknown> = { prompt: await fitting(stop.signal), n_predict: length.value, stream: true };
    if (temperature.value !== '') body.temperature = Number(temperature.value);
    type Chunk = { content?: string; timings?: Record<string, number>; error?: { message: string } };
    let timings: Chunk['timings'];
    for await (const chunks of stream<Chunk>('/completion', body, stop.signal)) {
      for (const chunk of chunks) {
        if (chunk.error) throw new Error(chunk.error.message);
        more += chunk.content ?? '';
        timings ??= chunk.timings;
      }
      if (!timings) await paced(show);
      if (stop.signal.aborted) break;
    }
    if (timings) figures.value = `${count(timings.predicted_n ?? 0)} tokens, ${rate(timings.predicted_per_second ?? 0)} tok/s`;
  } catch (error) {
    if (!stop.signal.aborted) problem.value = error instanceof Error ? error.message : String(error);
  }
  show();
  busy.value = null;
  keep();
  announce(stop.signal.aborted ? 'Stopped' : 'Complete');
}

// What the server says of the text: asked for a moment after it last changed.
function Counted() {
  useSignalEffect(() => {
    const wanted = prompt.value;
    const pieces = showTokens.value;
    if (busy.value || !modelName.value) return;
    const stop = new AbortController();
    const timer = window.setTimeout(async () => {
      try {
        seen.value = await lookAtText(wanted, pieces, stop.signal);
      } catch {
        // asked again at the next change
      }
    }, 300);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  });
  const now = seen.value;
  if (!now) return null;
  const pieces = now.pieces ?? [];
  const from = Math.max(0, pieces.length - kMostSeen);
  const list = pieces.slice(from).map((one, i) => ({
    piece: one.piece,
    kind: `${i % 2 ? 'odd' : ''} ${from + i < now.cached ? 'cached' : ''}`,
    about: `token ${one.id}, number ${count(from + i + 1)}${from + i < now.cached ? ', in the cache' : ''}`,
  }));
  return (
    <>
      <p class="stats">
        {count(now.tokens)} tokens of {count(context.value)}, {count(now.cached)} cached
        {now.seconds !== null ? ` · ${duration(Math.max(0.01, now.seconds))} to the first token` : ''}
        {showTokens.value && from > 0 ? `; the last ${count(kMostSeen)} are shown` : ''}
      </p>
      {showTokens.value && list.length > 0 && <Tokens list={list} label="Tokens of the text" />}
    </>
  );
}

export function Notebook() {
  const area = useRef<HTMLTextAreaElement>(null);
  return (
    <div class="view notebook">
      <h2>Notebook</h2>
      <p class="stats">The model goes on with this text as it is: no roles, no template.</p>
      <details>
        <summary>Story: memory, author's note and world info</summary>
        <label class="block">
          Memory <small>always at the beginning</small>
          <textarea rows={2} value={memory} onInput={(event) => (memory.value = event.currentTarget.value)} onChange={keep} />
        </label>
        <World
          story={story.value}
          unit="lines"
          set={(changed) => {
            story.value = changed;
            keep();
          }}
        />
        <p class="stats">Told now: {count(told(story.value.world, text.value).length)} of {count(story.value.world.length)} entries.</p>
      </details>
      <textarea
        ref={area}
        class="story"
        rows={14}
        aria-label="Text"
        placeholder="Once upon a time"
        value={text}
        readOnly={busy.value !== null}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onChange={keep}
        onKeyDown={(event) => {
          if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void go();
          if (event.key === 'Escape') busy.value?.abort();
        }}
      />
      {problem.value && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
      <div class="row">
        {busy.value ? (
          <button type="button" class="stop" onClick={() => busy.value?.abort()}>
            Stop
          </button>
        ) : (
          <button type="button" class="main" disabled={!modelName.value} onClick={() => void go()}>
            Go on
          </button>
        )}
        <button
          type="button"
          disabled={before.value.length === 0 || busy.value !== null}
          onClick={() => {
            text.value = before.value[before.value.length - 1] ?? '';
            before.value = before.value.slice(0, -1);
            keep();
          }}
        >
          Undo
        </button>
        <button
          type="button"
          disabled={before.value.length === 0 || busy.value !== null}
          onClick={() => {
            text.value = before.value[before.value.length - 1] ?? '';
            before.value = before.value.slice(0, -1);
            void go();
          }}
        >
          Retry
        </button>
        <label>
          Tokens{' '}
          <input class="short" type="number" min={1} max={100000} value={length} onChange={(event) => (length.value = Math.max(1, Number(event.currentTarget.value) || 1))} />
        </label>
        <label>
          Temperature{' '}
          <input class="short" type="number" min={0} max={5} step={0.05} value={temperature} placeholder="usual" onChange={(event) => (temperature.value = event.currentTarget.value)} />
        </label>
        <label>
          <input type="checkbox" checked={showTokens} onChange={(event) => (showTokens.value = event.currentTarget.checked)} /> Show tokens
        </label>
        <span class="stats">{figures} · Ctrl+Enter goes on</span>
      </div>
      <Counted />
    </div>
  );
}
