// Answers in the making: asks, streams, stops. What is shown changes at most twenty times a second.
import { Signal, signal } from '@preact/signals';
import { ApiError, postJson, stream } from './api';
import { places, samples } from './live';
import { announce } from './announce';
import { add, Conversation, current, Message, path, save, Stats } from './store';

export interface Live {
  text: string;
  reasoning: string;
  read: number; // tokens of the prompt that are read ...
  prompt: number; // ... of so many; 0: not known yet
  tokens: number;
  rate: number; // tok/s, so far
}

interface Running {
  conversation: Conversation;
  live: Signal<Live>;
  stop: AbortController;
}
// By the id of the message that is being written. Conversations go on while another one is looked at.
export const running = signal<Record<string, Running>>({});

export const isBusy = (conversation: Conversation) =>
  Object.values(running.value).some((one) => one.conversation.id === conversation.id);

interface Chunk {
  choices?: {
    delta?: { content?: string; reasoning_content?: string; tool_calls?: { index: number; function?: { name?: string; arguments?: string } }[] };
    finish_reason?: string | null;
  }[];
  prompt_progress?: { total: number; cache: number; processed: number };
  timings?: Record<string, number>;
  error?: { message?: string };
}

export function toMessages(conversation: Conversation, messages: Message[]): unknown[] {
  const system = conversation.system.trim() ? [{ role: 'system', content: conversation.system }] : [];
  return [...system, ...messages.map((m) => ({ role: m.role, content: m.text }))];
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

// Writes on at `message`, which is the end of the conversation; its text so far is kept.
async function write(conversation: Conversation, message: Message): Promise<void> {
  const stop = new AbortController();
  const begun: Live = { text: message.text, reasoning: message.reasoning ?? '', read: 0, prompt: 0, tokens: 0, rate: 0 };
  const live = signal(begun);
  running.value = { ...running.value, [message.id]: { conversation, live, stop } };
  const next = { ...begun };
  let timer = 0;
  const show = () => {
    timer = 0;
    // A piece of text may be several tokens: the server's own count, where it can only be ours.
    const busy = places.value?.places.filter((place) => place.state === 'generating') ?? [];
    if (busy.length === 1 && busy[0]!.generated_tokens! > next.tokens) {
      next.tokens = busy[0]!.generated_tokens!;
      next.rate = samples[samples.length - 1]?.generation ?? 0;
    }
    live.value = { ...next };
  };
  const calls: { name: string; arguments: string }[] = [];
  const before = path(conversation, message.parent);
  const messages = message.text ? [...before, message] : before; // a last answer is gone on with
  const finish = (end: string | undefined, error?: string) => {
    clearTimeout(timer);
    const done: Message = { ...message, text: next.text };
    delete done.error;
    delete done.end;
    if (next.reasoning) done.reasoning = next.reasoning;
    if (calls.length > 0) done.calls = calls;
    if (end) done.end = end;
    if (error) done.error = error;
    if (stats) done.stats = stats;
    conversation.messages = { ...conversation.messages, [message.id]: done };
    const rest = { ...running.value };
    delete rest[message.id];
    running.value = rest;
    save(conversation);
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
    const body = {
      ...conversation.sampling,
      messages: toMessages(conversation, messages),
      stream: true,
      return_progress: true,
      stream_options: { include_usage: true },
    };
    for await (const chunk of stream<Chunk>('/v1/chat/completions', body, stop.signal)) {
      if (over) return;
      if (chunk.error) throw new ApiError(chunk.error.message ?? 'The server could not go on.', 500);
      if (chunk.prompt_progress) {
        next.prompt = chunk.prompt_progress.total;
        next.read = chunk.prompt_progress.processed;
      }
      if (chunk.timings) stats = statsOf(chunk.timings);
      const choice = chunk.choices?.[0];
      if (choice?.finish_reason === 'length') end = 'length';
      const delta = choice?.delta;
      if (delta?.content || delta?.reasoning_content) {
        next.text += delta.content ?? '';
        next.reasoning += delta.reasoning_content ?? '';
      }
      for (const call of delta?.tool_calls ?? []) {
        const at = (calls[call.index] ??= { name: '', arguments: '' });
        at.name += call.function?.name ?? '';
        at.arguments += call.function?.arguments ?? '';
      }
      if (!timer) timer = window.setTimeout(show, 50);
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
    if (one.conversation.id === conversation.id) one.stop.abort();
  }
}

// A question at the end of the branch, or, with `instead`, beside a message that it replaces.
export function ask(text: string, instead?: Message): void {
  const conversation = current.value;
  const parent = instead ? instead.parent : conversation.leaf;
  const question = add(conversation, { parent, role: 'user', text });
  answer(question.id);
}

// A new answer to the message with this id (null: to nothing), beside those there are.
export function answer(parent: string | null): void {
  const conversation = current.value;
  const message = add(conversation, { parent, role: 'assistant', text: '' });
  save(conversation);
  void write(current.value, message);
}

export function goOn(message: Message): void {
  const conversation = current.value;
  conversation.leaf = message.id;
  void write(conversation, message);
}

// How many tokens the conversation would have with this question.
export async function countTokens(conversation: Conversation, draft: string, stop: AbortSignal): Promise<number> {
  const messages = toMessages(conversation, path(conversation));
  if (draft.trim() || messages.length === 0) messages.push({ role: 'user', content: draft });
  const said = await postJson<{ input_tokens: number }>('/v1/chat/completions/input_tokens', { messages }, stop);
  return said.input_tokens;
}
