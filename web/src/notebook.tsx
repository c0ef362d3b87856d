// Raw completion: one text that the model goes on with, and the tokens it sees.
import { signal, useSignalEffect } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { announce } from './announce';
import { postJson, stream } from './api';
import { count, rate } from './format';
import { context, modelName } from './live';

const text = signal(localStorage.getItem('loadline.notebook') ?? '');
const memory = signal(localStorage.getItem('loadline.memory') ?? '');
const note = signal(localStorage.getItem('loadline.note') ?? '');
const length = signal(200);
const temperature = signal('');
const busy = signal<AbortController | null>(null);
const before = signal<string[]>([]); // texts to go back to
const figures = signal('');
const problem = signal('');
const seen = signal<{ id: number; piece: string | number[] }[]>([]);
const showTokens = signal(false);

function keep(): void {
  try {
    localStorage.setItem('loadline.notebook', text.value);
    localStorage.setItem('loadline.memory', memory.value);
    localStorage.setItem('loadline.note', note.value);
  } catch {
    problem.value = 'The browser has no room left to keep this text.';
  }
}

const kNoteLines = 4; // from the end, as story tools have it

// Memory first, the note a few lines before the end.
export function promptOf(story: string, first: string, aside: string): string {
  let body = story;
  if (aside.trim()) {
    const lines = story.split('\n');
    lines.splice(Math.max(0, lines.length - kNoteLines), 0, `[${aside.trim()}]`);
    body = lines.join('\n');
  }
  return first.trim() ? `${first.trim()}\n${body}` : body;
}

async function go(): Promise<void> {
  if (busy.value || !modelName.value) return;
  const stop = new AbortController();
  busy.value = stop;
  before.value = [...before.value.slice(-20), text.value];
  problem.value = '';
  let more = '';
  let timer = 0;
  const start = text.value;
  const show = () => {
    timer = 0;
    text.value = start + more;
  };
  try {
    const body: Record<string, unknown> = { prompt: promptOf(start, memory.value, note.value), n_predict: length.value, stream: true };
    if (temperature.value !== '') body.temperature = Number(temperature.value);
    type Chunk = { content?: string; timings?: Record<string, number>; error?: { message: string } };
    for await (const chunk of stream<Chunk>('/completion', body, stop.signal)) {
      if (chunk.error) throw new Error(chunk.error.message);
      more += chunk.content ?? '';
      if (chunk.timings) figures.value = `${count(chunk.timings.predicted_n ?? 0)} tokens, ${rate(chunk.timings.predicted_per_second ?? 0)} tok/s`;
      if (!timer) timer = window.setTimeout(show, 50);
    }
  } catch (error) {
    if (!stop.signal.aborted) problem.value = error instanceof Error ? error.message : String(error);
  }
  clearTimeout(timer);
  show();
  busy.value = null;
  keep();
  announce(stop.signal.aborted ? 'Stopped' : 'Complete');
}

function Tokens() {
  useSignalEffect(() => {
    const content = promptOf(text.value, memory.value, note.value);
    if (busy.value || !modelName.value || !showTokens.value) return;
    const stop = new AbortController();
    const timer = window.setTimeout(async () => {
      try {
        const said = await postJson<{ tokens: typeof seen.value }>('/tokenize', { content, add_special: true, with_pieces: true }, stop.signal);
        seen.value = said.tokens;
      } catch {
        // asked again at the next change
      }
    }, 300);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  });
  const shown = seen.value.slice(-2000);
  const write = (piece: string | number[]) => (typeof piece === 'string' ? piece : piece.map((b) => `<${b.toString(16)}>`).join(''));
  return (
    <>
      <p class="stats">
        {count(seen.value.length)} tokens of {count(context.value)}
        {shown.length < seen.value.length ? '; the last 2000 are shown' : ''}
      </p>
      <p class="tokens" tabIndex={0} aria-label="Tokens">
        {shown.map((token, i) => (
          <span key={i} class={i % 2 ? 'odd' : ''} title={`token ${token.id}`}>
            {write(token.piece)}
          </span>
        ))}
      </p>
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
        <summary>Story: memory and author's note</summary>
        <label class="block">
          Memory <small>always at the beginning</small>
          <textarea rows={2} value={memory} onInput={(event) => (memory.value = event.currentTarget.value)} onChange={keep} />
        </label>
        <label class="block">
          Author's note <small>a few lines before the end</small>
          <textarea rows={1} value={note} onInput={(event) => (note.value = event.currentTarget.value)} onChange={keep} />
        </label>
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
      {showTokens.value && <Tokens />}
    </div>
  );
}
