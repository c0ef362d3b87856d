// A plan's regions as pieces of a bar: what lies where in a tier, to the byte.
import { Plan, Region } from './api';

export interface Piece {
  key: string;
  label: string; // "layer 3", "token_embd.weight"
  purpose: string;
  size: number; // bytes
  names: string[]; // the regions in it; several where they share bytes
  parts: Piece[]; // smaller pieces that make it up; none: it is whole
}

export const kPurposes: Record<string, string> = {
  weights: 'weights',
  kv_cache: 'KV cache',
  scratch: 'scratch',
  staging: 'staging',
  runtime: 'runtime',
};
export const purposeName = (purpose: string) => kPurposes[purpose] ?? purpose;
// The state's tiers write it with a space, the plan with an underscore.
export const purposeKey = (name: string) => name.toLowerCase().replace(' ', '_');

// Where regions begin and end cuts an arena into pieces; what lies over each other, since it is never used together,
// is one piece of several names.
function cut(regions: Region[], arena: number, purpose: string, size: number): Piece[] {
  const edges = new Map<number, { begins: Region[]; ends: Region[] }>();
  const at = (offset: number) => {
    let edge = edges.get(offset);
    if (!edge) edges.set(offset, (edge = { begins: [], ends: [] }));
    return edge;
  };
  for (const region of regions) {
    if (region.size === 0) continue;
    at(region.offset).begins.push(region);
    at(Math.min(size, region.offset + region.size)).ends.push(region);
  }
  at(size);
  const offsets = [...edges.keys()].sort((a, b) => a - b);
  const active = new Set<Region>();
  const pieces: Piece[] = [];
  let from = 0;
  for (const offset of offsets) {
    if (offset > from) {
      const names = [...active].map((region) => region.name);
      const last = pieces[pieces.length - 1];
      if (names.length === 0 && last) {
        last.size += offset - from; // alignment behind it
      } else {
        const label = names.length > 1 ? `${names[0]} and ${names.length - 1} more, one after the other` : (names[0] ?? 'unused');
        pieces.push({ key: `${arena}.${from}`, label, purpose, size: offset - from, names, parts: [] });
      }
    }
    const edge = edges.get(offset)!;
    for (const region of edge.ends) active.delete(region);
    for (const region of edge.begins) active.add(region);
    from = offset;
  }
  return pieces;
}

function layerOf(piece: Piece): string {
  const found = /^blk\.(\d+)\./.exec(piece.names[0] ?? '');
  return found ? `layer ${found[1]}` : '';
}

// Neighbours of the same layer become one piece that can be looked into.
function byLayer(pieces: Piece[]): Piece[] {
  const out: Piece[] = [];
  for (const piece of pieces) {
    const layer = layerOf(piece);
    const last = out[out.length - 1];
    if (layer && last?.label === layer) {
      last.size += piece.size;
      last.parts.push(piece);
      last.names.push(...piece.names);
    } else if (layer) {
      out.push({ ...piece, key: `${piece.key}+`, label: layer, names: [...piece.names], parts: [piece] });
    } else {
      out.push(piece);
    }
  }
  return out;
}

// The matrices of all experts lie one behind the other, each of the same size.
function withExperts(piece: Piece, experts: number): Piece {
  if (piece.parts.length > 0) return { ...piece, parts: piece.parts.map((part) => withExperts(part, experts)) };
  const name = piece.names[0] ?? '';
  if (experts < 2 || piece.names.length !== 1 || !/_exps\b/.test(name)) return piece;
  const one = (i: number): Piece => ({ key: `${piece.key}.${i}`, label: `expert ${i} of ${name}`, purpose: piece.purpose, size: piece.size / experts, names: [name], parts: [] });
  return { ...piece, parts: Array.from({ length: experts }, (_, i) => one(i)) };
}

export function piecesOf(plan: Plan, tier: number, experts: number): Piece[] {
  const byArena = new Map<number, Region[]>();
  for (const region of plan.regions) {
    const list = byArena.get(region.arena);
    if (list) list.push(region);
    else byArena.set(region.arena, [region]);
  }
  const order = Object.keys(kPurposes);
  return plan.arenas
    .map((arena, index) => ({ arena, index }))
    .filter(({ arena }) => arena.tier === tier && arena.size > 0)
    .sort((a, b) => order.indexOf(a.arena.purpose) - order.indexOf(b.arena.purpose))
    .flatMap(({ arena, index }) => byLayer(cut(byArena.get(index) ?? [], index, arena.purpose, arena.size)))
    .map((piece) => withExperts(piece, experts));
}
