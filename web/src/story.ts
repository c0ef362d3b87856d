// What is told to a model beside a story or a conversation: an author's note near the end, and the entries of a world
// that are told once their words appear. As story tools have it.

export interface WorldEntry {
  keys: string[]; // it is told where one of these appeared lately ...
  also: string[]; // ... and, where there are any, one of these
  text: string;
  always: boolean; // told in any case
}

export interface Story {
  note: string;
  depth: number; // so many lines, or messages, before the end
  world: WorldEntry[];
}

const kUsualDepth = 4;
const kLooksBack = 4000; // characters of the story in which words count as appeared

const list = (value: unknown): string[] =>
  (Array.isArray(value) ? value : typeof value === 'string' ? value.split(',') : []).map((one) => String(one).trim()).filter(Boolean);

// An entry as it is here, or as a character card's book, or KoboldCpp's export, has it.
export function checkedEntry(value: unknown): WorldEntry | null {
  if (typeof value !== 'object' || value === null) return null;
  const from = value as Record<string, unknown>;
  const text = [from.text, from.content].find((one) => typeof one === 'string') as string | undefined;
  if (!text?.trim() || from.enabled === false || from.wi_disabled === true) return null;
  const also = from.selective === false ? [] : list(from.also ?? from.secondary_keys ?? from.keysecondary);
  const always = from.always === true || from.constant === true;
  return { keys: list(from.keys ?? from.key), also, text, always };
}

export function checkedStory(value: unknown): Story {
  const from = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  return {
    note: typeof from.note === 'string' ? from.note : '',
    depth: typeof from.depth === 'number' && from.depth >= 0 && from.depth <= 1000 ? Math.round(from.depth) : kUsualDepth,
    world: (Array.isArray(from.world) ? from.world : []).map(checkedEntry).filter((one): one is WorldEntry => one !== null),
  };
}

// Whole words, in any case.
function appears(word: string, text: string): boolean {
  const lower = word.toLowerCase();
  const letter = /[\p{L}\p{N}]/u;
  for (let at = text.indexOf(lower); at >= 0; at = text.indexOf(lower, at + 1)) {
    const before = text[at - 1] ?? ' ';
    const after = text[at + lower.length] ?? ' ';
    if (!(letter.test(before) && letter.test(lower[0]!)) && !(letter.test(after) && letter.test(lower[lower.length - 1]!))) return true;
  }
  return false;
}

// The entries that are told, now that this was said.
export function told(world: WorldEntry[], said: string): WorldEntry[] {
  const recent = said.slice(-kLooksBack).toLowerCase();
  const any = (words: string[]) => words.some((word) => appears(word, recent));
  return world.filter((one) => one.always || (any(one.keys) && (one.also.length === 0 || any(one.also))));
}

// Memory first, then what is told of the world, then the text with the note some lines before its end.
export function promptOf(text: string, memory: string, story: Story): string {
  const lines = text.split('\n');
  if (story.note.trim()) lines.splice(Math.max(0, lines.length - story.depth), 0, `[${story.note.trim()}]`);
  const first = [memory, ...told(story.world, text).map((one) => one.text)].map((part) => part.trim()).filter(Boolean);
  return [...first, lines.join('\n')].join('\n');
}

// The same within so many tokens: what goes is the beginning of the text, line by line. `count` says how many a prompt
// has. `cut` is how many characters are left out.
export async function promptWithin(
  text: string,
  memory: string,
  story: Story,
  most: number,
  count: (prompt: string) => Promise<number>,
): Promise<{ prompt: string; cut: number }> {
  let cut = 0;
  for (let tries = 0; ; ++tries) {
    const prompt = promptOf(text.slice(cut), memory, story);
    const tokens = await count(prompt);
    if (tokens <= most || cut >= text.length || tries === 20) return { prompt, cut };
    const share = Math.max(0.02, (1.05 * (tokens - most)) / tokens);
    const least = Math.min(text.length, cut + Math.ceil(prompt.length * share));
    const line = text.indexOf('\n', least);
    const word = text.indexOf(' ', least);
    cut = line >= 0 && line - least < 400 ? line + 1 : word >= 0 ? word + 1 : least;
  }
}
