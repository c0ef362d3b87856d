// What the server says of itself, live: one stream while the page is seen, taken up again after it broke.
import { batch, computed, signal } from '@preact/signals';
import { getJson, Plan, State, stream, Tier, wantsKey } from './api';

export type Connection = 'connecting' | 'live' | 'lost';
export const connection = signal<Connection>('connecting');
export const state = signal<State | null>(null);
export const plan = signal<Plan | null>(null);
export const model = signal<ModelEntry | null>(null);
export const isFolder = signal(false); // the server has several models
// The settings that the server takes where a request names none.
export const defaults = signal<Record<string, unknown>>({});

export interface ModelEntry {
  id: string;
  arch?: string;
  quantization?: string;
  meta?: { n_ctx_train?: number; n_params?: number; size?: number };
}

// One of these for each event, over the last minutes.
export interface Sample {
  time: number; // s since 1970
  prompt: number; // tok/s
  generation: number;
}
const kKept = 300; // s
export const samples: Sample[] = [];
export const sampled = signal(0); // counts them: what draws them reads it

// Parts that change seldom are compared, so that what shows them is not drawn four times a second.
function part<T>(read: (state: State) => T) {
  let text = '';
  let last: T | null = null;
  return computed(() => {
    const now = state.value && read(state.value);
    const written = JSON.stringify(now);
    if (written !== text) {
      text = written;
      last = now;
    }
    return last;
  });
}
// What of the tiers is the plan's; what they hold moves all the time, and is `now`.
export const tiers = part((s) => s.tiers.map(({ held, available_now, ...planned }) => planned as Tier));
// What others leave free is told to a thousandth: it moves a little all the time.
const about = (size: number, whole: number) => Math.round(size / (whole / 1024 || 1)) * (whole / 1024);
export const now = part((s) => s.tiers.map((tier) => ({ held: tier.held ?? 0, available: about(tier.available_now ?? tier.available, tier.capacity) })));
export const cache = part((s) => s.cache);
export const places = part((s) => ({ places: s.places, waiting: s.waiting, waiters: s.waiters ?? [] }));
export const experts = part((s) => s.experts ?? 0);
export const predicted = part((s) => s.predicted);
export const rates = part((s) => s.rates);
export const held = part((s) => s.held);
export const change = part((s) => s.change ?? null);
export const trouble = part((s) => s.trouble);
export const verdicts = part((s) => s.watch?.verdicts ?? []);
export const modelName = computed(() => state.value?.model ?? model.value?.id ?? '');
export const hasModel = computed(() => !!state.value?.model);
// What the cache keeps is as it was while this is.
export const done = computed(() => {
  const now = state.value;
  return `${now?.activity?.passes} ${now?.cache?.pinned_pages} ${now?.change?.number}`;
});
export const context = computed(() => state.value?.context ?? 0);

export const diskRate = signal(0); // bytes/s of weights, over the last second

let loadedAs = '';
const recent: { time: number; prompt: number; generated: number; streamed: number }[] = [];

function take(next: State): void {
  // What is loaded, and by which plan, may change while it is looked at.
  const changed = `${next.model} ${next.change?.state} ${next.change?.number}`;
  if (loadedAs !== '' && changed !== loadedAs) void describe().catch(() => undefined);
  loadedAs = changed;
  if (!next.activity) {
    recent.length = 0;
    state.value = next;
    return;
  }
  const time = performance.now() / 1000;
  recent.push({ time, prompt: next.activity.prompt_tokens, generated: next.activity.generated_tokens, streamed: next.streamed });
  while (recent.length > 2 && time - recent[0]!.time > 1.2) recent.shift();
  const first = recent[0]!;
  const seconds = time - first.time;
  if (seconds > 0.1 && next.activity.generated_tokens >= first.generated) {
    samples.push({
      time: Date.now() / 1000,
      prompt: Math.max(0, next.activity.prompt_tokens - first.prompt) / seconds,
      generation: (next.activity.generated_tokens - first.generated) / seconds,
    });
    diskRate.value = Math.max(0, next.streamed - first.streamed) / seconds;
    while (samples[0]!.time < Date.now() / 1000 - kKept) samples.shift();
    sampled.value++;
  }
  state.value = next;
}

async function describe(): Promise<void> {
  const all = await getJson<{ folder: boolean }>('/api/loadline/models');
  isFolder.value = all.folder;
  const now = await getJson<State>('/api/loadline/state');
  if (now.model === null) {
    model.value = plan.value = null;
    return;
  }
  const [list, made, props] = await Promise.all([
    getJson<{ data: ModelEntry[] }>('/v1/models'),
    getJson<Plan>('/api/loadline/plan'),
    getJson<{ default_generation_settings?: { params?: Record<string, unknown> } }>('/props'),
  ]);
  model.value = list.data[0] ?? null;
  plan.value = made;
  defaults.value = props.default_generation_settings?.params ?? {};
}

let stop: AbortController | null = null;
let retry = 0;

async function follow(mine: AbortController): Promise<void> {
  let wait = 500;
  while (!mine.signal.aborted) {
    try {
      await describe();
      for await (const events of stream<State>('/api/loadline/events', undefined, mine.signal)) {
        wait = 500;
        batch(() => {
          connection.value = 'live';
          for (const next of events) take(next);
        });
      }
    } catch {
      // it is asked again below
    }
    if (mine.signal.aborted) return;
    connection.value = state.value ? 'lost' : 'connecting';
    recent.length = 0;
    if (wantsKey.value) return;
    await new Promise<void>((done) => {
      retry = window.setTimeout(done, wait);
    });
    wait = Math.min(wait * 2, 5000);
  }
}

export function start(): void {
  stop?.abort();
  clearTimeout(retry);
  stop = new AbortController();
  void follow(stop);
}

// A page that nobody sees asks for nothing.
document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    stop?.abort();
    stop = null;
  } else if (!stop) {
    start();
  }
});
