"""Families that nobody has published golden logits for: small random models, computed here once more from what is known
of each family (the papers, and the metadata and tensors that files of it have), in plain loops over doubles, and by
`loadline logits`, on the CPU and by the oracle.

    independent_test.py --program build/release/bin/loadline [NAME...]
"""

import argparse
import array
import math
import operator
import os
import random
import struct
import subprocess
import sys
import tempfile

TOLERANCE = 1e-3
VOCABULARY = 48


# --- A file.

def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def metadata_value(value):
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    items = b"".join(metadata_value(item)[4:] for item in value)
    return struct.pack("<I", 9) + metadata_value(value[0])[:4] + struct.pack("<Q", len(value)) + items


def shape_of(tensor):
    shape = []
    while isinstance(tensor, list):
        shape.insert(0, len(tensor))
        tensor = tensor[0]
    return shape


def flat(tensor):
    if not isinstance(tensor[0], list):
        return tensor
    return [value for part in tensor for value in flat(part)]


def write_gguf(path, metadata, tensors):
    data = b""
    table = b""
    for name, tensor in tensors.items():
        shape = shape_of(tensor)
        table += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        table += struct.pack("<IQ", 0, len(data))
        data += array.array("f", flat(tensor)).tobytes()
        data += bytes(-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += text(key) + metadata_value(value)
    head += table
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % 32) + data)


# --- Arithmetic.

def dot(a, b):
    return sum(map(operator.mul, a, b))


def times(matrix, x):
    return [dot(row, x) for row in matrix]


def plus(a, b):
    return list(map(operator.add, a, b))


def rms(x, weight, epsilon):
    factor = 1 / math.sqrt(dot(x, x) / len(x) + epsilon)
    return [value * factor * w for value, w in zip(x, weight)]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def silu(x):
    return x * sigmoid(x)


def softplus(x):
    return math.log1p(math.exp(x))


def softmax(x):
    most = max(x)
    powers = [math.exp(value - most) for value in x]
    return [power / sum(powers) for power in powers]


def turned(head, position, kind, factors):
    half = len(head) // 2
    out = list(head)
    for i in range(half):
        angle = position * 10000 ** (-i / half) / factors[i]
        a, b = (2 * i, 2 * i + 1) if kind == "norm" else (i, i + half)
        out[a] = head[a] * math.cos(angle) - head[b] * math.sin(angle)
        out[b] = head[a] * math.sin(angle) + head[b] * math.cos(angle)
    return out


def slope(most, heads, head):
    whole = 2 ** int(math.log2(heads))
    if head < whole:
        return 2 ** (-most * (head + 1) / whole)
    return 2 ** (-most / 2 * (2 * (head - whole) + 1) / whole)


# --- A model.

class Model:
    """What a family is, as options; `layers` of them are the model."""

    epsilon = 1e-5
    layers = 3
    width, heads, kv_heads, head_dim = 32, 4, 2, 16
    feed_forward = 48
    rope = "neox"
    factors = False
    head_norms = False
    biases = False
    fused = False
    post_norms = False
    tied = False
    alibi = 0.0
    window = 0
    pattern = 0  # the last of each so many layers sees everything; 0: there are no windows
    rope_in_windows_only = False
    xielu = False
    dense = 0  # so many layers before those with experts
    experts, used, expert_width, shared = 0, 0, 24, 0
    gating = "sigmoid"
    choice_bias = False
    groups, groups_used = 1, 1
    normalize, scale = False, 1.0
    beyond = 0  # layers that only predict further tokens
    scan = None  # Mamba 2 beside the attention: inner, state, heads, groups, taps
    second_norm = "ffn_norm.weight"
    more = {}

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.tensors = {}
        self.make()

    def matrix(self, name, rows, columns):
        deviation = 1.2 / math.sqrt(columns)
        self.tensors[name] = [self.vector(columns, 0, deviation) for _ in range(rows)]

    def vector(self, count, mean=1.0, deviation=0.2):
        # As a file keeps them.
        return array.array("f", [self.random.gauss(mean, deviation) for _ in range(count)]).tolist()

    def has_window(self, layer):
        return self.pattern > 0 and layer % self.pattern < self.pattern - 1

    def make(self):
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.matrix("token_embd.weight", VOCABULARY, self.width)
        self.tensors["output_norm.weight"] = self.vector(self.width)
        if not self.tied:
            self.matrix("output.weight", VOCABULARY, self.width)
        if self.factors:
            self.tensors["rope_freqs.weight"] = self.vector(self.head_dim // 2, 2.0)
        if self.xielu:
            self.constants = {name: self.vector(self.layers, 0.7, 0.2) for name in ("alpha_p", "alpha_n", "beta")}
            self.constants["eps"] = self.vector(self.layers, -0.5, 0.1)
        for i in range(self.layers):
            b = f"blk.{i}."
            before, after = "attn_norm.weight", self.second_norm
            if self.post_norms:
                before, after = "post_attention_norm.weight", "post_ffw_norm.weight"
            self.tensors[b + before] = self.vector(self.width)
            self.tensors[b + after] = self.vector(self.width)
            parts = {"attn_qkv": q + 2 * kv} if self.fused else {"attn_q": q, "attn_k": kv, "attn_v": kv}
            for name, rows in parts.items():
                self.matrix(b + name + ".weight", rows, self.width)
                if self.biases:
                    self.tensors[b + name + ".bias"] = self.vector(rows, 0, 0.5)
            self.matrix(b + "attn_output.weight", self.width, q)
            if self.head_norms:
                for name in ("attn_q_norm", "attn_k_norm"):
                    self.tensors[b + name + ".weight"] = self.vector(self.head_dim)
            if self.scan:
                self.make_scan(b)
            self.make_feed_forward(i, b)
        for i in range(self.layers, self.layers + self.beyond):
            self.tensors[f"blk.{i}.nextn.enorm.weight"] = self.vector(self.width)

    def make_scan(self, b):
        inner, state, heads, groups, taps = self.scan
        channels = inner + 2 * groups * state
        self.matrix(b + "ssm_in.weight", inner + channels + heads, self.width)
        self.tensors[b + "ssm_conv1d.weight"] = [self.vector(taps, 0, 0.6) for _ in range(channels)]
        self.tensors[b + "ssm_conv1d.bias"] = self.vector(channels, 0, 0.3)
        self.tensors[b + "ssm_dt.bias"] = self.vector(heads, 0.3, 0.5)
        self.tensors[b + "ssm_a"] = [self.vector(1, -0.5, 0.1) for _ in range(heads)]
        self.tensors[b + "ssm_d"] = [self.vector(1, 0.7, 0.3) for _ in range(heads)]
        self.tensors[b + "ssm_norm.weight"] = [self.vector(inner // groups) for _ in range(groups)]
        self.matrix(b + "ssm_out.weight", self.width, inner)

    def make_feed_forward(self, i, b):
        if self.experts == 0 or i < self.dense:
            names = ("ffn_up",) if self.xielu else ("ffn_gate", "ffn_up")
            for name in names:
                self.matrix(b + name + ".weight", self.feed_forward, self.width)
            self.matrix(b + "ffn_down.weight", self.width, self.feed_forward)
            return
        self.matrix(b + "ffn_gate_inp.weight", self.experts, self.width)
        if self.choice_bias:
            self.tensors[b + "exp_probs_b.bias"] = self.vector(self.experts, 0, 0.3)
        for name, rows, columns in (("gate", self.expert_width, self.width), ("up", self.expert_width, self.width),
                                    ("down", self.width, self.expert_width)):
            whole = b + f"ffn_{name}_exps.weight"
            self.matrix(whole, rows * self.experts, columns)
            all_rows = self.tensors[whole]
            self.tensors[whole] = [all_rows[e * rows:(e + 1) * rows] for e in range(self.experts)]
            if self.shared:
                wide = [self.shared if size == self.expert_width else size for size in (rows, columns)]
                self.matrix(b + f"ffn_{name}_shexp.weight", *wide)

    def metadata(self):
        own = {
            "block_count": self.layers + self.beyond, "context_length": 64, "embedding_length": self.width,
            "feed_forward_length": self.feed_forward, "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv_heads, "attention.key_length": self.head_dim,
            "attention.value_length": self.head_dim, "attention.layer_norm_rms_epsilon": self.epsilon,
            "rope.dimension_count": self.head_dim,
        }
        if self.experts:
            own |= {"expert_count": self.experts, "expert_used_count": self.used,
                    "expert_feed_forward_length": self.expert_width,
                    "expert_gating_func": {"softmax": 1, "sigmoid": 2}[self.gating],
                    "expert_weights_norm": self.normalize, "expert_weights_scale": self.scale}
        if self.dense:
            own["leading_dense_block_count"] = self.dense
        if self.groups > 1:
            own |= {"expert_group_count": self.groups, "expert_group_used_count": self.groups_used}
        if self.window:
            own["attention.sliding_window"] = self.window
        if self.beyond:
            own["nextn_predict_layers"] = self.beyond
        if self.scan:
            names = ("inner_size", "state_size", "time_step_rank", "group_count", "conv_kernel")
            own |= {f"ssm.{name}": size for name, size in zip(names, self.scan)}
        all_keys = {"general.architecture": self.family}
        all_keys |= {f"{self.family}.{key}": value for key, value in (own | self.more).items()}
        if self.xielu:
            all_keys |= {f"xielu.{key}": values for key, values in self.constants.items()}
        return all_keys

    # --- What it computes.

    def linear(self, name, x):
        y = times(self.tensors[name + ".weight"], x)
        bias = self.tensors.get(name + ".bias")
        return plus(y, bias) if bias else y

    def norm(self, x, name):
        return rms(x, self.tensors[name + ".weight"], self.epsilon)

    def heads_of(self, row, i, position, norm):
        heads = [row[at:at + self.head_dim] for at in range(0, len(row), self.head_dim)]
        if norm and self.head_norms:
            heads = [self.norm(head, f"blk.{i}.{norm}") for head in heads]
        turns = self.rope and norm and (self.has_window(i) or not self.rope_in_windows_only)
        factors = self.tensors.get("rope_freqs.weight", [1.0] * (self.head_dim // 2))
        return [turned(head, position, self.rope, factors) for head in heads] if turns else heads

    def attention(self, i, rows):
        b = f"blk.{i}."
        q_rows, kv_rows = self.heads * self.head_dim, self.kv_heads * self.head_dim
        queries, keys, values, out = [], [], [], []
        for position, x in enumerate(rows):
            if self.fused:
                qkv = self.linear(b + "attn_qkv", x)
                q, k, v = qkv[:q_rows], qkv[q_rows:q_rows + kv_rows], qkv[q_rows + kv_rows:]
            else:
                q, k, v = (self.linear(b + name, x) for name in ("attn_q", "attn_k", "attn_v"))
            queries.append(self.heads_of(q, i, position, "attn_q_norm"))
            keys.append(self.heads_of(k, i, position, "attn_k_norm"))
            values.append(self.heads_of(v, i, position, None))
        for p, query in enumerate(queries):
            first = max(0, p - self.window + 1) if self.has_window(i) else 0
            mixed = []
            for head, one in enumerate(query):
                kv = head // (self.heads // self.kv_heads)
                scores = [dot(one, keys[j][kv]) / math.sqrt(self.head_dim) for j in range(first, p + 1)]
                if self.alibi:
                    taken = slope(self.alibi, self.heads, head)
                    scores = [score - taken * (p - first - j) for j, score in enumerate(scores)]
                weights = softmax(scores)
                mixed += [sum(w * values[first + j][kv][d] for j, w in enumerate(weights))
                          for d in range(self.head_dim)]
            out.append(self.linear(b + "attn_output", mixed))
        return out

    def scanned(self, i, rows):
        b = f"blk.{i}."
        inner, state, heads, groups, taps = self.scan
        channels, size = inner + 2 * groups * state, inner // heads
        of = lambda name: self.tensors[b + name]  # noqa: E731
        before = [[0.0] * channels for _ in range(taps - 1)]
        states = [[[0.0] * state for _ in range(size)] for _ in range(heads)]
        out = []
        for x in rows:
            projected = times(of("ssm_in.weight"), x)
            gate, steps = projected[:inner], projected[inner + channels:]
            before.append(projected[inner:inner + channels])
            mixed = [silu(sum(w * row[c] for w, row in zip(of("ssm_conv1d.weight")[c], before[-taps:])) + bias)
                     for c, bias in enumerate(of("ssm_conv1d.bias"))]
            y = []
            for head, memory in enumerate(states):
                step = softplus(steps[head] + of("ssm_dt.bias")[head])
                first = inner + head // (heads // groups) * state
                inputs, outputs = mixed[first:first + state], mixed[first + groups * state:][:state]
                for p in range(size):
                    value = mixed[head * size + p]
                    memory[p] = [old * math.exp(step * of("ssm_a")[head][0]) + step * value * b_n
                                 for old, b_n in zip(memory[p], inputs)]
                    y.append(dot(memory[p], outputs) + of("ssm_d")[head][0] * value)
            y = [value * silu(g) for value, g in zip(y, gate)]
            part = inner // groups
            normed = [value for g, weight in enumerate(of("ssm_norm.weight"))
                      for value in rms(y[g * part:(g + 1) * part], weight, self.epsilon)]
            out.append(times(of("ssm_out.weight"), normed))
        return out

    def activated(self, i, x):
        ap, an, beta, epsilon = (self.constants[name][i] for name in ("alpha_p", "alpha_n", "beta", "eps"))
        if x > 0:
            return softplus(ap) * x * x + beta * x
        return (math.expm1(min(x, epsilon)) - x) * (beta + softplus(an)) + beta * x

    def gated(self, gate, up, down, x):
        return times(down, [silu(g) * u for g, u in zip(times(gate, x), times(up, x))])

    def feed_forward_of(self, i, x):
        b = f"blk.{i}."
        of = lambda name: self.tensors[b + name + ".weight"]  # noqa: E731
        if self.xielu:
            return self.linear(b + "ffn_down", [self.activated(i, u) for u in times(of("ffn_up"), x)])
        if self.experts == 0 or i < self.dense:
            return self.gated(of("ffn_gate"), of("ffn_up"), of("ffn_down"), x)
        logits = times(of("ffn_gate_inp"), x)
        chances = softmax(logits) if self.gating == "softmax" else [sigmoid(logit) for logit in logits]
        chosen_by = plus(chances, self.tensors.get(b + "exp_probs_b.bias", [0.0] * self.experts))
        if self.groups > 1:
            size = self.experts // self.groups
            of_group = [sum(sorted(chosen_by[g * size:(g + 1) * size])[-2:]) for g in range(self.groups)]
            stay = sorted(range(self.groups), key=lambda g: -of_group[g])[:self.groups_used]
            chosen_by = [score if e // size in stay else -math.inf for e, score in enumerate(chosen_by)]
        chosen = sorted(range(self.experts), key=lambda e: -chosen_by[e])[:self.used]
        weights = [chances[e] for e in chosen]
        if self.normalize:
            weights = [weight / sum(weights) for weight in weights]
        y = [0.0] * self.width
        for e, weight in zip(chosen, weights):
            part = self.gated(*(of(f"ffn_{name}_exps")[e] for name in ("gate", "up", "down")), x)
            y = [a + weight * self.scale * value for a, value in zip(y, part)]
        if self.shared:
            y = plus(y, self.gated(*(of(f"ffn_{name}_shexp") for name in ("gate", "up", "down")), x))
        return y

    def logits(self, tokens):
        rows = [list(self.tensors["token_embd.weight"][token]) for token in tokens]
        for i in range(self.layers):
            b = f"blk.{i}."
            before = rows if self.post_norms else [self.norm(x, b + "attn_norm") for x in rows]
            branch = self.attention(i, before)
            if self.scan:
                branch = [plus(x, y) for x, y in zip(branch, self.scanned(i, before))]
            if self.post_norms:
                branch = [self.norm(x, b + "post_attention_norm") for x in branch]
            rows = [plus(x, y) for x, y in zip(rows, branch)]
            weight = None if self.post_norms else self.tensors[b + self.second_norm]
            branch = [self.feed_forward_of(i, x if self.post_norms else rms(x, weight, self.epsilon)) for x in rows]
            if self.post_norms:
                branch = [self.norm(x, b + "post_ffw_norm") for x in branch]
            rows = [plus(x, y) for x, y in zip(rows, branch)]
        matrix = self.tensors["token_embd.weight" if self.tied else "output.weight"]
        return [value for x in rows for value in times(matrix, self.norm(x, "output_norm"))]


def deep(layers):
    return {"layers": layers, "width": 16, "heads": 2, "kv_heads": 1, "feed_forward": 16}


SIGMOID = {"experts": 8, "used": 3, "choice_bias": True, "normalize": True, "scale": 2.5, "dense": 1}
MODELS = {
    "internlm2": {"rope": "norm"},
    "exaone": {"factors": True, "tied": True},
    "baichuan-7b": {"family": "baichuan", "rope": "norm"} | deep(32) | {"kv_heads": 2},
    "baichuan-13b": {"family": "baichuan", "rope": None, "alibi": 8.0} | deep(40) | {"heads": 3, "kv_heads": 3},
    "dots1": {"head_norms": True, "kv_heads": 4, "shared": 48, "more": {"expert_shared_count": 2}} | SIGMOID,
    "bailingmoe2": {"head_norms": True, "fused": True, "groups": 4, "groups_used": 2, "shared": 40, "beyond": 1,
                    "more": {"expert_shared_count": 2, "expert_shared_feed_forward_length": 20}} | SIGMOID,
    "apertus": {"head_norms": True, "xielu": True},
    "exaone-moe": {"head_norms": True, "layers": 5, "window": 4, "pattern": 4, "rope_in_windows_only": True,
                   "shared": 24} | SIGMOID,
    "exaone4-32b": {"family": "exaone4", "head_norms": True, "post_norms": True, "window": 4, "pattern": 4,
                    "rope_in_windows_only": True} | deep(64),
    "falcon-h1": {"second_norm": "ffn_norm", "scan": (48, 16, 4, 2, 4), "factors": False},
    "qwen2vl": {"biases": True, "more": {"rope.dimension_sections": [2, 3, 3, 0]}},
    "qwen3vl": {"head_norms": True, "tied": True,
                "more": {"rope.dimension_sections": [2, 3, 3, 0], "n_deepstack_layers": 3}},
    "qwen3vlmoe": {"head_norms": True, "experts": 6, "used": 2, "gating": "softmax", "normalize": True,
                   "more": {"rope.dimension_sections": [2, 3, 3, 0]}},
}


def difference(program, path, tokens, expected, options):
    out = path + ".logits"
    subprocess.run([program, "logits", path, "--tokens", ",".join(map(str, tokens)), "--out", out, "-ctk", "f32",
                    "-ctv", "f32", *options], check=True, stdout=subprocess.DEVNULL)
    actual = array.array("f")
    with open(out, "rb") as file:
        actual.frombytes(file.read())
    if len(actual) != len(expected):
        return math.inf
    # A logit that is no number is infinitely far off.
    return max((abs(a - e) if a == a else math.inf) for a, e in zip(actual, expected))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or MODELS:
            model = type(name, (Model,), {"family": name} | MODELS[name])(seed=name)
            tokens = [model.random.randrange(VOCABULARY) for _ in range(13)]
            path = os.path.join(folder, name + ".gguf")
            write_gguf(path, model.metadata(), model.tensors)
            expected = model.logits(tokens)
            for what in (["--backend-reference"], [], ["-b", "4"]):
                apart = difference(options.program, path, tokens, expected, what)
                ok = apart < TOLERANCE
                failed |= not ok
                print(f"{'ok  ' if ok else 'FAIL'} {name} {' '.join(what) or 'on the CPU'}: {apart:.2g}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
