// Conversations, kept in the browser. Messages are a tree, so that an edit or a second try is a branch beside the first.
import { signal } from '@preact/signals';

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
  end?: string; // why it ended: "stopped", "length"
  error?: string;
}

export interface Conversation {
  id: string;
  title: string;
  updated: number; // ms since 1970
  system: string;
  sampling: Record<string, unknown>;
  messages: Record<string, Message>;
  leaf: string | null;
}

export interface Entry {
  id: string;
  title: string;
  updated: number;
}

const kIndex = 'loadline.chats';
const keyOf = (id: string) => `loadline.chat.${id}`;
export const newId = () => Math.random().toString(36).slice(2, 10) + Date.now().toString(36);

export const entries = signal<Entry[]>(readIndex());
export const current = signal<Conversation>(empty());
export const problem = signal(''); // of the browser's storage

export function empty(): Conversation {
  return { id: newId(), title: '', updated: Date.now(), system: '', sampling: {}, messages: {}, leaf: null };
}

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
  if (current.value.id === conversation.id) current.value = { ...conversation };
}

export function open(id: string): void {
  try {
    const found = checked(JSON.parse(localStorage.getItem(keyOf(id)) ?? 'null'));
    if (found) {
      current.value = found;
      return;
    }
  } catch {
    // what cannot be read is as good as gone
  }
  problem.value = 'That conversation cannot be read any more.';
}

export function remove(id: string): void {
  localStorage.removeItem(keyOf(id));
  entries.value = entries.value.filter((e) => e.id !== id);
  write(kIndex, entries.value);
  if (current.value.id === id) current.value = empty();
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
  const all = Object.values(conversation.messages);
  let at = id;
  for (;;) {
    const child = all.filter((m) => m.parent === at).pop();
    if (!child || child.id === id) return at;
    at = child.id;
  }
}

export function add(conversation: Conversation, message: Omit<Message, 'id'>): Message {
  const made = { id: newId(), ...message };
  conversation.messages = { ...conversation.messages, [made.id]: made };
  conversation.leaf = made.id;
  return made;
}

// A conversation from outside, or null where it is none: only what is known is taken over.
export function checked(value: unknown): Conversation | null {
  if (typeof value !== 'object' || value === null) return null;
  const from = value as Record<string, unknown>;
  if (typeof from.messages !== 'object' || from.messages === null) return null;
  const text = (v: unknown) => (typeof v === 'string' ? v : '');
  const out = empty();
  if (/^[a-z0-9]{1,40}$/.test(text(from.id))) out.id = text(from.id);
  out.title = text(from.title).slice(0, 200);
  out.updated = typeof from.updated === 'number' ? from.updated : Date.now();
  out.system = text(from.system);
  if (typeof from.sampling === 'object' && from.sampling && !Array.isArray(from.sampling)) {
    out.sampling = from.sampling as Record<string, unknown>;
  }
  for (const [id, one] of Object.entries(from.messages as Record<string, Record<string, unknown>>)) {
    if (typeof one !== 'object' || one === null || (one.role !== 'user' && one.role !== 'assistant')) continue;
    const message: Message = { id, parent: typeof one.parent === 'string' ? one.parent : null, role: one.role, text: text(one.text) };
    if (one.reasoning) message.reasoning = text(one.reasoning);
    if (one.end) message.end = text(one.end);
    if (one.error) message.error = text(one.error);
    const stats = one.stats as Stats | undefined;
    if (stats && [stats.tokens, stats.rate, stats.promptTokens, stats.promptRate].every((n) => typeof n === 'number')) {
      message.stats = { ...stats, cachedTokens: Number(stats.cachedTokens) || 0 };
    }
    if (Array.isArray(one.calls)) {
      message.calls = one.calls.map((c: Record<string, unknown>) => ({ name: text(c?.name), arguments: text(c?.arguments) }));
    }
    out.messages[id] = message;
  }
  const leaf = text(from.leaf);
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
