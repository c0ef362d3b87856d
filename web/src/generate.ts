// Answers in the making: asks, streams, stops.
import { Signal, signal } from '@preact/signals';
import { ApiError, postJson, stream } from './api';
import { places, samples } from './live';
import { announce } from './announce';
import { paced } from './pace';
import { add, Conversation, entries, latest, Message, Pane, panes, path, save, Stats } from './store';
import { told } from './story';

export interface Live {
  text: string;
  reasoning: string;
  read: number; // tokens of the prompt that are read ...
  prompt: number; // ... of so many; 0: not known yet
  tokens: number;
  rate: number; // tok/s, so far
}

interface Running {
  conversation: string; // its id
  live: Signal<Live>;
  stop: AbortController;
}
// By the id of the message that is being written. Conversations go on while another one is looked at.
export const running = signal<Record<string, Running>>({});

export const isBusy = (conversation: Conversation) =>
  Object.values(running.value).some((one) => one.conversation === conversation.id);

// A token that was drawn, and what else could have been.
export interface Drawn {
  piece: string;
  chance: number;
  others: { piece: string; chance: number }[];
}
// By message; not kept by the browser: they are ten times as long as what they say.
export const drawn = signal<Record<string, Drawn[]>>({});
export const wantsChances = signal(localStorage.getItem('loadline.chances') === 'yes');
export function setWantsChances(is: boolean): void {
  wantsChances.value = is;
  localStorage.setItem('loadline.chances', is ? 'yes' : 'no');
}

interface Chance {
  token: string;
  logprob: number;
  top_logprobs?: Chance[];
}
interface Chunk {
  choices?: {
    delta?: { content?: string; reasoning_content?: string; tool_calls?: { index: number; function?: { name?: string; arguments?: string } }[] };
    logprobs?: { content?: Chance[] } | null;
    finish_reason?: string | null;
  }[];
  prompt_progress?: { total: number; cache: number; processed: number };
  timings?: Record<string, number>;
  error?: { message?: string };
}

const drawnOf = (one: Chance): Drawn => ({
  piece: one.token,
  chance: Math.exp(one.logprob),
  others: (one.top_logprobs ?? []).map((other) => ({ piece: other.token, chance: Math.exp(other.logprob) })),
});

// What is sent: the system prompt with what is told of the world, and the author's note so many messages before the end.
export function toMessages(conversation: Conversation, messages: Message[]): { role: string; content: string }[] {
  const { note, depth, world } = conversation.story;
  const said = messages.slice(-8).map((m) => m.text).join('\n');
  const system = [conversation.system, ...told(world, said).map((one) => one.text)].map((part) => part.trim()).filter(Boolean);
  const out = messages.map((m) => ({ role: m.role as string, content: m.text }));
  if (note.trim()) {
    let at = Math.max(0, out.length - 1 - depth);
    while (at < out.length && out[at]!.role !== 'user') ++at;
    const place = out[at] ?? out.filter((one) => one.role === 'user').pop();
    if (place) place.content = `[${note.trim()}]\n\n${place.content}`;
  }
  return system.length > 0 ? [{ role: 'system', content: system.join('\n\n') }, ...out] : out;
}

function statsOf(timings: Record<string, number>): Stats {
  return {
    promptTokens: timings.prompt_n ?? 0,
    cachedTokens: timings.cache_n ?? 0,
    tokens: timings.predicted_n ?? 0,
    promptRate: timings.prompt_per_second ?? 0,
    rate: timings.predicted_per_second ?? 0,
  };
}

// The conversation with this message as it ended; it may have been changed, or deleted, meanwhile.
function keep(id: string, message: Message): void {
  const conversation = latest(id);
  if (!conversation || (!entries.value.some((one) => one.id === id) && !panes.value.some((one) => one.chat.value.id === id))) return;
  save({ ...conversation, messages: { ...conversation.messages, [message.id]: message } });
}

// Writes on at `message`, which is the end of the conversation; its text so far is kept.
async function write(conversation: Conversation, message: Message): Promise<void> {
  const stop = new AbortController();
  const begun: Live = { text: message.text, reasoning: message.reasoning ?? '', read: 0, prompt: 0, tokens: 0, rate: 0 };
  const live = signal(begun);
  running.value = { ...running.value, [message.id]: { conversation: conversation.id, live, stop } };
  const next = { ...begun };
  const chances: Drawn[] = message.text ? [...(drawn.value[message.id] ?? [])] : [];
  const wanted = wantsChances.value;
  // One of ours where none was chosen, so that a report can name it.
  const given = conversation.sampling.seed;
  const seed = typeof given === 'number' && given >= 0 ? given : Math.floor(Math.random() * 2 ** 32);
  const show = () => {
    // A piece of text may be several tokens: the server's own count, where it can only be ours.
    const busy = places.value?.places.filter((place) => place.state === 'generating') ?? [];
    if (busy.length === 1 && busy[0]!.generated_tokens! > next.tokens) {
      next.tokens = busy[0]!.generated_tokens!;
      next.rate = samples[samples.length - 1]?.generation ?? 0;
    }
    if (wanted) drawn.value = { ...drawn.value, [message.id]: [...chances] };
    live.value = { ...next };
  };
  const calls: { name: string; arguments: string }[] = [];
  const before = path(conversation, message.parent);
  const messages = message.text ? [...before, message] : before; // a last answer is gone on with
  const finish = (end: string | undefined, error?: string) => {
    if (wanted) drawn.value = { ...drawn.value, [message.id]: chances };
    const done: Message = { ...message, text: next.text, seed };
    delete done.error;
    delete done.end;
    if (next.reasoning) done.reasoning = next.reasoning;
    if (calls.length > 0) done.calls = calls;
    if (end) done.end = end;
    if (error) done.error = error;
    if (stats) done.stats = stats;
    const rest = { ...running.value };
    delete rest[message.id];
    running.value = rest;
    keep(conversation.id, done);
  };
  let stats: Stats | undefined;
  let end: string | undefined;
  let over = false;
  stop.signal.addEventListener('abort', () => {
    if (over) return;
    over = true; // felt at once: the connection closes behind it
    stats = { promptTokens: next.prompt, cachedTokens: 0, tokens: next.tokens, promptRate: 0, rate: next.rate };
    finish('stopped');
    announce('Stopped');
  });
  try {
    const body: Record<string, unknown> = {
      ...conversation.sampling,
      seed,
      messages: toMessages(conversation, messages),
      stream: true,
      return_progress: true,
      stream_options: { include_usage: true },
    };
    if (wanted) Object.assign(body, { logprobs: true, top_logprobs: 5 });
    let last = false;
    const take = (chunk: Chunk) => {
      if (chunk.error) throw new ApiError(chunk.error.message ?? 'The server could not go on.', 500);
      if (chunk.prompt_progress) {
        next.prompt = chunk.prompt_progress.total;
        next.read = chunk.prompt_progress.processed;
      }
      if (chunk.timings) stats = statsOf(chunk.timings);
      const choice = chunk.choices?.[0];
      if (choice?.finish_reason === 'length') end = 'length';
      last ||= !!choice?.finish_reason;
      const delta = choice?.delta;
      if (delta?.content || delta?.reasoning_content) {
        next.text += delta.content ?? '';
        next.reasoning += delta.reasoning_content ?? '';
      }
      for (const one of choice?.logprobs?.content ?? []) chances.push(drawnOf(one));
      for (const call of delta?.tool_calls ?? []) {
        const at = (calls[call.index] ??= { name: '', arguments: '' });
        at.name += call.function?.name ?? '';
        at.arguments += call.function?.arguments ?? '';
      }
    };
    for await (const chunks of stream<Chunk>('/v1/chat/completions', body, stop.signal)) {
      if (over) return;
      chunks.forEach(take);
      if (!last) await paced(show);
    }
    if (over) return;
    over = true;
    finish(end);
    announce('Answer complete');
  } catch (error) {
    if (over) return;
    over = true;
    finish(undefined, error instanceof Error ? error.message : String(error));
    announce('The answer failed');
  }
}

export function stopAll(conversation: Conversation): void {
  for (const one of Object.values(running.value)) {
    if (one.conversation === conversation.id) one.stop.abort();
  }
}

// A new answer to the message with this id (null: to nothing), beside those there are.
export function answer(pane: Pane, parent: string | null): void {
  const conversation = { ...pane.chat.value };
  const message = add(conversation, { parent, role: 'assistant', text: '' });
  save(conversation);
  void write(conversation, message);
}

// A question at the end of the branch, or, with `instead`, beside a message that it replaces.
export function ask(pane: Pane, text: string, instead?: Message): void {
  const conversation = { ...pane.chat.value };
  const parent = instead ? instead.parent : conversation.leaf;
  const question = add(conversation, { parent, role: 'user', text });
  pane.chat.value = conversation;
  answer(pane, question.id);
}

export function goOn(pane: Pane, message: Message): void {
  const conversation = { ...pane.chat.value, leaf: message.id };
  pane.chat.value = conversation;
  void write(conversation, message);
}

// A prompt as the server sees it.
export interface Seen {
  tokens: number;
  cached: number; // of them, those that need not be computed again
  left: number;
  seconds: number | null; // until the first token of an answer
  pieces?: { id: number; piece: string | number[] }[];
}

// The conversation with this question.
export function look(conversation: Conversation, draft: string, pieces: boolean, stop: AbortSignal): Promise<Seen> {
  const messages = path(conversation);
  if (draft.trim() || messages.length === 0) messages.push({ id: '', parent: null, role: 'user', text: draft });
  return postJson<Seen>('/api/loadline/prompt', { messages: toMessages(conversation, messages), pieces }, stop);
}

export const lookAtText = (prompt: string, pieces: boolean, stop?: AbortSignal) =>
  postJson<Seen>('/api/loadline/prompt', { prompt, pieces }, stop);
