// Conversations, kept in the browser, and the panes in which they are seen. Messages are a tree, so that an edit or a
// second try is a branch beside the first.
import { computed, Signal, signal } from '@preact/signals';
import { checkedStory, Story } from './story';

export interface Stats {
  promptTokens: number;
  cachedTokens: number;
  tokens: number;
  promptRate: number;
  rate: number;
}

export interface Message {
  id: string;
  parent: string | null;
  role: 'user' | 'assistant';
  text: string;
  reasoning?: string;
  calls?: { name: string; arguments: string }[];
  stats?: Stats;
  seed?: number;
  end?: string; // why it ended: "stopped", "length"
  error?: string;
}

// Who the model is to be, as a character card had it.
export interface Character {
  name: string;
  by: string; // who made it
  notes: string; // for who talks with it
  picture: string; // a data URL, or ""
}

export interface Conversation {
  id: string;
  title: string;
  updated: number; // ms since 1970
  system: string;
  sampling: Record<string, unknown>;
  story: Story;
  character?: Character;
  messages: Record<string, Message>;
  leaf: string | null;
}

export interface Entry {
  id: string;
  title: string;
  updated: number;
}

// One conversation that is seen; several lie side by side.
export interface Pane {
  key: string;
  chat: Signal<Conversation>;
  draft: Signal<string>;
  open: Signal<'' | 'settings' | 'seen'>; // what is shown above the messages
}

const kIndex = 'loadline.chats';
export const kMostPanes = 4;
const keyOf = (id: string) => `loadline.chat.${id}`;
export const newId = () => Math.random().toString(36).slice(2, 10) + Date.now().toString(36);

export const entries = signal<Entry[]>(readIndex());
export const panes = signal<Pane[]>([makePane(empty())]);
export const problem = signal(''); // of the browser's storage
// Of the panes, the one that the list of conversations opens things in.
const chosen = signal(panes.value[0]!.key);
export const pane = computed(() => panes.value.find((one) => one.key === chosen.value) ?? panes.value[0]!);
export const choose = (one: Pane) => (chosen.value = one.key);

export function empty(): Conversation {
  return { id: newId(), title: '', updated: Date.now(), system: '', sampling: {}, story: checkedStory(null), messages: {}, leaf: null };
}

function makePane(conversation: Conversation): Pane {
  return { key: newId(), chat: signal(conversation), draft: signal(''), open: signal('') };
}

export function openBeside(): void {
  if (panes.value.length >= kMostPanes) return;
  const made = makePane(empty());
  panes.value = [...panes.value, made];
  choose(made);
}

export function closePane(one: Pane): void {
  if (panes.value.length > 1) panes.value = panes.value.filter((other) => other !== one);
}

export const show = (conversation: Conversation) => (pane.value.chat.value = conversation);

function readIndex(): Entry[] {
  try {
    const list = JSON.parse(localStorage.getItem(kIndex) ?? '[]');
    return Array.isArray(list) ? list.filter((e) => typeof e?.id === 'string') : [];
  } catch {
    return [];
  }
}

function write(name: string, value: unknown): void {
  try {
    localStorage.setItem(name, JSON.stringify(value));
    problem.value = '';
  } catch {
    problem.value = 'The browser has no room left for conversations: export them, then delete some.';
  }
}

// As it is wherever it is seen.
function spread(conversation: Conversation): void {
  for (const one of panes.value) {
    if (one.chat.value.id === conversation.id) one.chat.value = { ...conversation };
  }
}

export function save(conversation: Conversation): void {
  conversation.updated = Date.now();
  if (!conversation.title) {
    const first = Object.values(conversation.messages).find((m) => m.role === 'user');
    conversation.title = (first?.text ?? '').trim().split('\n')[0]!.slice(0, 60);
  }
  write(keyOf(conversation.id), conversation);
  const entry = { id: conversation.id, title: conversation.title || 'Untitled', updated: conversation.updated };
  entries.value = [entry, ...entries.value.filter((e) => e.id !== entry.id)];
  write(kIndex, entries.value);
  spread(conversation);
}

// What was changed of it; kept once it has a message.
export function change(one: Pane, part: Partial<Conversation>): void {
  const conversation = { ...one.chat.value, ...part };
  if (Object.keys(conversation.messages).length > 0) save(conversation);
  else one.chat.value = conversation;
}

function load(id: string): Conversation | null {
  try {
    return checked(JSON.parse(localStorage.getItem(keyOf(id)) ?? 'null'));
  } catch {
    return null; // what cannot be read is as good as gone
  }
}

// The conversation as it is now; null where it was deleted.
export const latest = (id: string) => panes.value.find((one) => one.chat.value.id === id)?.chat.value ?? load(id);

export function open(id: string): void {
  const found = latest(id);
  if (found) show(found);
  else problem.value = 'That conversation cannot be read any more.';
}

export function remove(id: string): void {
  localStorage.removeItem(keyOf(id));
  entries.value = entries.value.filter((e) => e.id !== id);
  write(kIndex, entries.value);
  for (const one of panes.value) {
    if (one.chat.value.id === id) one.chat.value = empty();
  }
}

// From the first message to `leaf`.
export function path(conversation: Conversation, leaf = conversation.leaf): Message[] {
  const out: Message[] = [];
  const seen = new Set<string>();
  for (let at = leaf; at && !seen.has(at); at = conversation.messages[at]?.parent ?? null) {
    seen.add(at);
    const message = conversation.messages[at];
    if (message) out.push(message);
  }
  return out.reverse();
}

export function siblings(conversation: Conversation, message: Message): Message[] {
  return Object.values(conversation.messages).filter((m) => m.parent === message.parent && m.role === message.role);
}

// The newest message at the end of the branch that begins with `id`.
export function deepest(conversation: Conversation, id: string): string {
  const last = new Map<string | null, string>();
  for (const message of Object.values(conversation.messages)) last.set(message.parent, message.id);
  const seen = new Set<string>();
  let at = id;
  for (let next = last.get(at); next !== undefined && !seen.has(next); next = last.get(at)) {
    seen.add(next);
    at = next;
  }
  return at;
}

export function add(conversation: Conversation, message: Omit<Message, 'id'>): Message {
  const made = { id: newId(), ...message };
  conversation.messages = { ...conversation.messages, [made.id]: made };
  conversation.leaf = made.id;
  return made;
}

const textOf = (v: unknown) => (typeof v === 'string' ? v : '');
const kPicture = /^data:image\/(?:jpeg|png|webp);base64,[A-Za-z0-9+/=]+$/;

function checkedMessage(id: string, one: Record<string, unknown>): Message | null {
  if (id === '__proto__' || typeof one !== 'object' || one === null || (one.role !== 'user' && one.role !== 'assistant')) return null;
  const message: Message = { id, parent: typeof one.parent === 'string' ? one.parent : null, role: one.role, text: textOf(one.text) };
  if (one.reasoning) message.reasoning = textOf(one.reasoning);
  if (one.end) message.end = textOf(one.end);
  if (one.error) message.error = textOf(one.error);
  if (typeof one.seed === 'number') message.seed = one.seed;
  const stats = one.stats as Stats | undefined;
  if (stats && [stats.tokens, stats.rate, stats.promptTokens, stats.promptRate].every((n) => typeof n === 'number')) {
    message.stats = { ...stats, cachedTokens: Number(stats.cachedTokens) || 0 };
  }
  if (Array.isArray(one.calls)) {
    message.calls = one.calls.map((c: Record<string, unknown>) => ({ name: textOf(c?.name), arguments: textOf(c?.arguments) }));
  }
  return message;
}

// A conversation from outside, or null where it is none: only what is known is taken over.
export function checked(value: unknown): Conversation | null {
  if (typeof value !== 'object' || value === null) return null;
  const from = value as Record<string, unknown>;
  if (typeof from.messages !== 'object' || from.messages === null) return null;
  const out = empty();
  if (/^[a-z0-9]{1,40}$/.test(textOf(from.id))) out.id = textOf(from.id);
  out.title = textOf(from.title).slice(0, 200);
  out.updated = typeof from.updated === 'number' ? from.updated : Date.now();
  out.system = textOf(from.system);
  out.story = checkedStory(from.story);
  if (typeof from.sampling === 'object' && from.sampling && !Array.isArray(from.sampling)) {
    out.sampling = from.sampling as Record<string, unknown>;
  }
  const who = from.character as Record<string, unknown> | undefined;
  if (typeof who === 'object' && who !== null && typeof who.name === 'string') {
    const picture = textOf(who.picture);
    out.character = { name: who.name, by: textOf(who.by), notes: textOf(who.notes), picture: kPicture.test(picture) ? picture : '' };
  }
  for (const [id, one] of Object.entries(from.messages as Record<string, Record<string, unknown>>)) {
    const message = checkedMessage(id, one);
    if (message) out.messages[id] = message;
  }
  const leaf = textOf(from.leaf);
  out.leaf = out.messages[leaf] ? leaf : (Object.keys(out.messages).pop() ?? null);
  return out;
}

export function exportAll(): string {
  const conversations = entries.value.map((e) => JSON.parse(localStorage.getItem(keyOf(e.id)) ?? 'null')).filter(Boolean);
  return JSON.stringify({ loadline_conversations: 1, conversations }, null, 1);
}

// How many were taken.
export function importAll(text: string): number {
  const from = JSON.parse(text);
  const list: unknown[] = Array.isArray(from?.conversations) ? from.conversations : [from];
  const found = list.map(checked).filter((c): c is Conversation => c !== null);
  for (const one of found.reverse()) {
    const when = one.updated;
    save(one);
    one.updated = when;
  }
  if (found.length > 0) open(found[found.length - 1]!.id);
  return found.length;
}
