// Character cards, versions 1 and 2: JSON, or a PNG that carries it in a tEXt chunk named "chara", in base64.
import { add, current, empty, save } from './store';

export interface Card {
  name: string;
  description: string;
  personality: string;
  scenario: string;
  first: string;
  examples: string;
  system: string;
}

const kSignature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

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

export async function readCard(file: Blob): Promise<Card | null> {
  const data = new Uint8Array(await file.arrayBuffer());
  const isPng = data[0] === kSignature[0];
  const text = isPng ? charaOf(data) : new TextDecoder().decode(data);
  if (text === null) throw new Error('no card');
  const parsed = JSON.parse(text);
  const from = parsed?.data && typeof parsed.data === 'object' ? parsed.data : parsed;
  if (typeof from?.name !== 'string' || (from.first_mes === undefined && from.description === undefined)) return null;
  const get = (name: string) => (typeof from[name] === 'string' ? from[name] : '');
  return {
    name: from.name.slice(0, 100),
    description: get('description'),
    personality: get('personality'),
    scenario: get('scenario'),
    first: get('first_mes'),
    examples: get('mes_example'),
    system: get('system_prompt'),
  };
}

// A conversation with the character begins.
export function useCard(card: Card): void {
  const fill = (text: string) => text.replaceAll(/\{\{char\}\}|<BOT>/gi, card.name).replaceAll(/\{\{user\}\}|<USER>/gi, 'You').trim();
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
  current.value = conversation;
  if (card.first) add(conversation, { parent: null, role: 'assistant', text: fill(card.first) });
  save(conversation);
}
