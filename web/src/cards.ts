// Character cards, versions 1 and 2: JSON, or a PNG that carries it in a tEXt chunk named "chara", in base64.
import { add, Character, empty, save, show } from './store';
import { checkedEntry, WorldEntry } from './story';

export interface Card {
  name: string;
  description: string;
  personality: string;
  scenario: string;
  greetings: string[]; // the first message, and others in its place
  examples: string;
  system: string;
  last: string; // what is said after everything else
  by: string;
  notes: string;
  world: WorldEntry[];
  picture: string;
}

const kSignature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const kPictureSize = 192; // pixels: it is kept with the conversation

// The text of the chunk, or null where there is none. Every length is checked against the file.
export function charaOf(data: Uint8Array): string | null {
  if (kSignature.some((byte, i) => data[i] !== byte)) return null;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const latin = new TextDecoder('latin1');
  for (let at = 8; at + 12 <= data.length; ) {
    const length = view.getUint32(at);
    if (length > data.length - at - 12) return null;
    const body = data.subarray(at + 8, at + 8 + length);
    if (latin.decode(data.subarray(at + 4, at + 8)) === 'tEXt') {
      const zero = body.indexOf(0);
      if (zero > 0 && latin.decode(body.subarray(0, zero)).toLowerCase() === 'chara') {
        const packed = atob(latin.decode(body.subarray(zero + 1)));
        return new TextDecoder().decode(Uint8Array.from(packed, (c) => c.charCodeAt(0)));
      }
    }
    at += 12 + length;
  }
  return null;
}

// Small, as a data URL; "" where the browser cannot read it.
async function pictureOf(file: Blob): Promise<string> {
  try {
    const image = await createImageBitmap(file);
    const scale = Math.min(1, kPictureSize / Math.max(image.width, image.height));
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.round(image.width * scale));
    canvas.height = Math.max(1, Math.round(image.height * scale));
    canvas.getContext('2d')!.drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL('image/jpeg', 0.8);
  } catch {
    return '';
  }
}

export function cardOf(parsed: unknown): Card | null {
  const outer = parsed as { data?: unknown } | null;
  const from = (outer?.data && typeof outer.data === 'object' ? outer.data : outer) as Record<string, unknown> | null;
  if (typeof from?.name !== 'string' || (from.first_mes === undefined && from.description === undefined)) return null;
  const get = (name: string) => (typeof from[name] === 'string' ? (from[name] as string) : '');
  const book = from.character_book as { entries?: unknown } | undefined;
  const more = Array.isArray(from.alternate_greetings) ? from.alternate_greetings.filter((one) => typeof one === 'string') : [];
  return {
    name: from.name.slice(0, 100),
    description: get('description'),
    personality: get('personality'),
    scenario: get('scenario'),
    greetings: [get('first_mes'), ...more].filter((one) => one.trim()).slice(0, 50),
    examples: get('mes_example'),
    system: get('system_prompt'),
    last: get('post_history_instructions'),
    by: get('creator').slice(0, 100),
    notes: get('creator_notes'),
    world: (Array.isArray(book?.entries) ? book.entries : []).map(checkedEntry).filter((one): one is WorldEntry => one !== null),
    picture: '',
  };
}

export async function readCard(file: Blob): Promise<Card | null> {
  const data = new Uint8Array(await file.arrayBuffer());
  const isPng = data[0] === kSignature[0];
  const text = isPng ? charaOf(data) : new TextDecoder().decode(data);
  if (text === null) throw new Error('no card');
  const card = cardOf(JSON.parse(text));
  if (card && isPng) card.picture = await pictureOf(file);
  return card;
}

// A conversation with the character begins; its other greetings are branches beside the first.
export function useCard(card: Card): void {
  const fill = (text: string) => text.replaceAll(/\{\{char\}\}|<BOT>/gi, () => card.name).replaceAll(/\{\{user\}\}|<USER>/gi, 'You').trim();
  const lead = card.system.replaceAll(/\{\{original\}\}/gi, '') || `Write ${card.name}'s next reply in a conversation with the user.`;
  const parts = [
    lead,
    card.description,
    card.personality && `Personality: ${card.personality}`,
    card.scenario && `Scenario: ${card.scenario}`,
    card.examples && `Examples of how ${card.name} speaks:\n${card.examples}`,
  ];
  const conversation = empty();
  conversation.title = card.name;
  conversation.system = fill(parts.filter(Boolean).join('\n\n'));
  conversation.story.world = card.world.map((one) => ({ ...one, text: fill(one.text) }));
  if (card.last.trim()) conversation.story = { ...conversation.story, note: fill(card.last.replaceAll(/\{\{original\}\}/gi, '')), depth: 0 };
  const who: Character = { name: card.name, by: card.by, notes: fill(card.notes), picture: card.picture };
  conversation.character = who;
  show(conversation);
  const made = card.greetings.map((text) => add(conversation, { parent: null, role: 'assistant', text: fill(text) }));
  if (made[0]) conversation.leaf = made[0].id;
  save(conversation);
}
