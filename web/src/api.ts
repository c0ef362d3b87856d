// The server's endpoints: JSON, and streams of events. Nothing else is ever asked for anything.
import { signal } from '@preact/signals';

export interface Tier {
  kind: 'ram' | 'gpu' | 'disk';
  name: string;
  capacity: number;
  available: number;
  headroom: number;
  budget: number;
  planned: number;
  purposes: Record<string, number>;
  // By the system's, or the driver's, own account: what this process holds now, and could hold in all.
  held?: number;
  available_now?: number;
}

export interface Place {
  state: 'idle' | 'reading' | 'generating';
  id?: number;
  begun?: boolean; // it has the cells for its prompt
  prompt_tokens?: number;
  prompt_read?: number;
  cached_tokens?: number;
  generated_tokens?: number;
  most_tokens?: number;
}

// The change of plan that is under way, or the last one.
export interface Change {
  state: 'loading' | 'done' | 'failed' | 'cancelled';
  number?: number;
  why?: string;
  error?: string | null;
  loaded?: number;
  of?: number;
  seconds?: number;
  predicted_seconds?: number;
}

// A model in the server's folder.
export interface Listed {
  name: string;
  aliases: string[];
  size: number;
  architecture: string;
  quantization: string;
  parameters: number;
  trained_context: number;
  state: 'unloaded' | 'loading' | 'loaded' | 'unloading';
  unusable: string | null;
  loaded: number;
  to_load: number;
  fit: { fits: boolean; why_not: string; prompt_rate: number; generation_rate: number; ram: number; vram: number } | null;
}

export interface State {
  model: string | null;
  context: number;
  uptime: number;
  places: Place[];
  waiting: number;
  waiters?: { id: number; prompt_tokens: number }[]; // for a place; the first of them
  experts?: number;
  activity?: { passes: number; prompt_tokens: number; cached_tokens: number; generated_tokens: number; generations: number };
  cache: { pages: number; held_pages: number; kept_pages: number; pinned_pages: number; page_cells: number; page_bytes: number };
  rates: { prompt: number; generation: number };
  predicted: { prompt: number; generation: number; prompt_bound: string; generation_bound: string };
  held: number;
  streamed: number;
  trouble: string | null;
  change?: Change | null;
  watch?: { verdicts?: Verdict[] } | null;
  tiers: Tier[];
}

// A text that the cache keeps, and finds again where a prompt begins so.
export interface Kept {
  id: string;
  tokens: number;
  bytes: number;
  shared_tokens: number;
  pinned_tokens: number;
  hits: number;
  saved_tokens: number;
  age: number; // s
  in_use: boolean;
  beginning: string;
  end: string;
}

export interface Ledger {
  can_pin: boolean;
  texts: Kept[];
  texts_in_all: number;
  gone: { tokens: number; bytes: number; hits: number; unused: number; ago: number; why: string; beginning: string }[];
  emptied: string | null; // why all of it went at once, last
}

export interface About {
  version: string;
  machine: {
    cpu: { model: string; cores: number; instruction_sets: string[] };
    ram: { total: number; read_bandwidth: number[] };
    gpus: { name: string; driver: string; total: number }[];
    disk: { name: string };
    measured: string;
  } | null;
}

// What is wrong with the machine while the model runs.
export interface Verdict {
  kind: string;
  slowdown?: number;
  evidence?: string;
  remedy?: string;
}

export interface Region {
  name: string;
  purpose: string;
  arena: number;
  offset: number;
  size: number;
}

export interface Plan {
  model: { name: string; architecture: string; bytes: number; fingerprint: string };
  shape: { context: number; sequences: number; batch: number; threads: number; k_type: string; v_type: string };
  prediction: {
    prompt_rate: number;
    generation_rate: number;
    load_seconds: number;
    generation_bound: string;
    prompt_bound: string;
  };
  tiers: { kind: Tier['kind']; name: string; total: number; capacity: number; budget: number }[];
  arenas: { tier: number; purpose: string; size: number }[];
  regions: Region[];
  groups: { name: string; device: number; streamed: boolean }[];
}

export interface Suggestion {
  what: string;
  effect: string;
  how: string;
  prompt_rate: number;
  generation_rate: number;
}

export interface WhatIf {
  fits: boolean;
  error?: string;
  hint?: string;
  suggestions?: Suggestion[];
  assumed: string[];
  tiers: Tier[];
  plan: Plan;
}

export class ApiError extends Error {
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

// Asked for where the server wants one; kept for this tab alone.
export const key = signal(sessionStorage.getItem('loadline.key') ?? '');
export const wantsKey = signal(false);

export function setKey(value: string): void {
  key.value = value;
  sessionStorage.setItem('loadline.key', value);
  wantsKey.value = false;
}

async function send(path: string, body: unknown, stop?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = {};
  if (key.value) headers['Authorization'] = `Bearer ${key.value}`;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response: Response;
  try {
    response = await fetch(path, {
      method: body === undefined ? 'GET' : 'POST',
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: stop ?? null,
    });
  } catch (error) {
    if (stop?.aborted) throw error;
    throw new ApiError('The server does not answer. Is it still running?', 0);
  }
  if (response.ok) return response;
  if (response.status === 401) wantsKey.value = true;
  let message = `The server answered ${response.status}.`;
  try {
    const said = await response.json();
    message = said.error?.message ?? said.error ?? message;
  } catch {
    // no JSON: the status says what there is to say
  }
  throw new ApiError(String(message), response.status);
}

export async function getJson<T>(path: string): Promise<T> {
  return (await send(path, undefined)).json();
}

export async function postJson<T>(path: string, body: unknown, stop?: AbortSignal): Promise<T> {
  return (await send(path, body, stop)).json();
}

// The data of events, parsed, until the stream ends or `stop` is aborted: all that had come when it was read. Who takes
// longer between two of them gets more at once, and wakes up less often.
export async function* stream<T>(path: string, body: unknown, stop: AbortSignal): AsyncGenerator<T[]> {
  const response = await send(path, body, stop);
  const reader = response.body!.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + decoder.decode(value, { stream: true })).split('\n\n');
      rest = blocks.pop()!;
      const events: T[] = [];
      let over = false;
      for (const line of blocks.join('\n').split('\n')) {
        if (over || !line.startsWith('data:')) continue;
        const data = line.slice(5).trim();
        if (data === '[DONE]') over = true;
        else events.push(JSON.parse(data) as T);
      }
      if (events.length > 0) yield events;
      if (over) return;
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
