// Puts the pairs of tokens and their experts into the order of the experts, so that the tokens of one go together: one
// workgroup. Tiles of up to 64 pairs follow each other, each one expert's. Within an expert the order is any: what is made
// of a pair does not depend on its neighbours.
// GroupArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "pass.glsl"

layout(local_size_x = 256) in;
layout(push_constant, std430) uniform GroupArguments {
  uint64_t chosen;  // [tokens][used] of: the expert, its weight
  uint64_t groups;  // words: how many tiles, where the order begins, 2 unused; [most_tiles] of expert, first place, places;
                    // the order: of each place the pair (token * used + which of its experts) and its weight
  uint64_t table;   // the pass
  uint experts;
  uint used;
  uint most_tiles;
  uint selected;    // rows are the outputs of the pass
} arguments;

const uint kThreads = 256u;
const uint kTile = 64u;  // tokens of a tile of matmul.comp
const uint kMostExperts = 1024u;

shared uint counts[kMostExperts];
shared uint places[kMostExperts];

void main() {
  const uint self = gl_LocalInvocationID.x;
  const uint pairs = pass_rows(arguments.table, arguments.selected != 0u) * arguments.used;
  Words groups = Words(arguments.groups);
  const uint order = 4u + 3u * arguments.most_tiles;
  for (uint e = self; e < arguments.experts; e += kThreads) counts[e] = 0u;
  barrier();
  for (uint i = self; i < pairs; i += kThreads) atomicAdd(counts[Words(arguments.chosen).v[2u * i]], 1u);
  barrier();
  if (self == 0u) {
    uint place = 0u;
    uint tiles = 0u;
    for (uint e = 0u; e < arguments.experts; ++e) {
      places[e] = place;
      const uint end = place + counts[e];
      for (; place < end; place += kTile) {
        groups.v[4u + 3u * tiles] = e;
        groups.v[5u + 3u * tiles] = place;
        groups.v[6u + 3u * tiles] = min(kTile, end - place);
        ++tiles;
      }
      place = end;
    }
    groups.v[0] = tiles;
    groups.v[1] = order;
  }
  barrier();
  for (uint i = self; i < pairs; i += kThreads) {
    const uint place = atomicAdd(places[Words(arguments.chosen).v[2u * i]], 1u);
    groups.v[order + 2u * place] = i;
    groups.v[order + 2u * place + 1u] = Words(arguments.chosen).v[2u * i + 1u];
  }
}
