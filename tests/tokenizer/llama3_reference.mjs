// Writes what the independent tokenizer llama3-tokenizer-js knows about Llama 3, for llama3_test.cpp to compare with:
//   node llama3_reference.mjs VOCABULARY.gguf CASES.json
// The vocabulary is the package's own, as a GGUF file without tensors; the cases are texts with the ids it gives them.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import tokenizer from "llama3-tokenizer-js";

const [vocabularyPath, casesPath] = process.argv.slice(2);

// ---- the vocabulary, as GGUF version 3 -------------------------------------------------------------------------------

const UINT32 = 4, INT32 = 5, STRING = 8, ARRAY = 9;
const kFirstSpecial = 128000;

const u32 = (value) => { const b = Buffer.alloc(4); b.writeUInt32LE(value); return b; };
const u64 = (value) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(value)); return b; };
const string = (text) => { const b = Buffer.from(text, "utf8"); return Buffer.concat([u64(b.length), b]); };
const entry = (key, type, value) => Buffer.concat([string(key), u32(type), value]);
const array = (type, items) => Buffer.concat([u32(type), u64(items.length), ...items]);

const merges = [...tokenizer.merges.entries()].sort((a, b) => a[1] - b[1]).map(([pair]) => pair);
const types = tokenizer.vocabById.map((_, id) => (id < kFirstSpecial ? 1 : 3));
const entries = [
  entry("general.architecture", STRING, string("llama")),
  entry("tokenizer.ggml.model", STRING, string("gpt2")),
  entry("tokenizer.ggml.pre", STRING, string("llama-bpe")),
  entry("tokenizer.ggml.tokens", ARRAY, array(STRING, tokenizer.vocabById.map(string))),
  entry("tokenizer.ggml.token_type", ARRAY, array(INT32, types.map(u32))),
  entry("tokenizer.ggml.merges", ARRAY, array(STRING, merges.map(string))),
  entry("tokenizer.ggml.bos_token_id", UINT32, u32(tokenizer.getSpecialTokenId("<|begin_of_text|>"))),
  entry("tokenizer.ggml.eos_token_id", UINT32, u32(tokenizer.getSpecialTokenId("<|eot_id|>"))),
];
writeFileSync(vocabularyPath, Buffer.concat([Buffer.from("GGUF"), u32(3), u64(0), u64(entries.length), ...entries]));

// ---- the texts -------------------------------------------------------------------------------------------------------

// Texts avoid three places where JavaScript's regular expressions differ from the model's own, which are Unicode's:
// U+FEFF is white space here and U+0085 is not, and "'\u017F" (a long s) is not the contraction "'s" in capitals.
let state = 20260101;
const below = (n) => {  // a small generator of its own, so that every run has the same texts
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 4294967296) * n);
};
const pick = (list) => list[below(list.length)];
const between = (first, last) => String.fromCodePoint(first + below(last - first + 1));

const ranges = [
  [0x00, 0x1f], [0x20, 0x7e], [0x20, 0x7e], [0x7f, 0x84], [0xa0, 0xff], [0x100, 0x17e], [0x300, 0x36f], [0x370, 0x3ff],
  [0x400, 0x4ff], [0x5d0, 0x5ea], [0x600, 0x6ff], [0x900, 0x97f], [0xe00, 0xe4f], [0x1e00, 0x1eff], [0x2000, 0x206f],
  [0x2070, 0x209c], [0x20a0, 0x20bf], [0x2150, 0x218b], [0x2190, 0x21ff], [0x3000, 0x303f], [0x3041, 0x3096],
  [0x30a1, 0x30fa], [0x4e00, 0x9fa5], [0xac00, 0xd7a3], [0xe000, 0xe0ff], [0xff01, 0xff5e], [0x1d400, 0x1d454],
  [0x1f300, 0x1f64f], [0x1f680, 0x1f6c5], [0x1f1e6, 0x1f1ff], [0xfe00, 0xfe0f], [0x1f3fb, 0x1f3ff], [0x20000, 0x200ff],
];
const words = `the of and to in a is that for it was on are with as his they be at one have this from or had by hot but some
  what there we can out other were all your when up use word how said an each she which do their time if will way about many
  Ship HARBOUR quay Antidisestablishmentarianism naïve Übergröße élève Ελλάδα москва 東京都 서울특별시 ภาษาไทย हिन्दी עברית
  العربية 你好世界 ½ Ⅷ ² x86_64 HTTPServer camelCase snake_case kebab-case 3.14159 1,234,567 2026-01-01 0xDEADBEEF`.split(/\s+/);
const code = ["for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n", "def f(x):\n    return x ** 2  # square\n", "</div>\r\n",
  "SELECT * FROM t WHERE a != 'b';", "std::vector<std::string> v{};", "=> ${x}`", "#!/bin/sh\n", "\\\\n", "/* ... */", "!==",
  "if err != nil {\n\t\treturn err\n\t}\n", "{\"key\": [1, 2.5e-3, null]}"];
const blanks = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n", "\n ", "\u00a0", "\u3000", "\u2028", "        ", " \t "];
const contractions = ["'s", "'S", "'re", "'VE", "'Ll", "'d", "'t", "'M", "'x", "'", "\u2019s"];
const emoji = ["😀", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "❤️", "🏴‍☠️", "1️⃣", "🦙"];
const specials = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|reserved_special_token_7|>",
  "<|eot_id", "eot_id|>", "<|not_special|>"];
const sources = [
  () => pick(words), () => " " + pick(words), () => pick(words).toUpperCase(), () => pick(code), () => pick(blanks),
  () => pick(contractions), () => pick(emoji), () => String(below(10 ** (1 + below(12)))), () => between(...pick(ranges)),
  () => between(...pick(ranges)).repeat(1 + below(6)), () => pick([...".,;:!?()[]{}<>+-*/=%&|^~@#$_`\"'\\"]).repeat(1 + below(4)),
  () => pick(blanks).repeat(1 + below(20)),
];

const texts = ["", " ", "\n", "Hello, world!", "grabbed", "a".repeat(5000), " ".repeat(3000) + "x", "\n".repeat(500),
  "ab".repeat(1000), "0123456789".repeat(50), "=".repeat(777), "-".repeat(64) + "\n"];
for (const list of [words, code, blanks, contractions, emoji, specials]) texts.push(...list, list.join(""), list.join(" "));
for (const [first, last] of ranges) {
  let all = "";
  for (let point = first; point <= Math.min(last, first + 600); ++point) all += String.fromCodePoint(point);
  texts.push(all, [...all].join(" "), [...all].join("a"), [...all].join("1"));
}
for (let i = 0; i < 4000; ++i) {
  let text = "";
  for (let parts = 1 + below(30); parts > 0; --parts) text += pick(below(40) === 0 ? [() => pick(specials)] : sources)();
  texts.push(text);
}
texts.push(readFileSync(fileURLToPath(import.meta.url), "utf8"));
texts.push(readFileSync(fileURLToPath(new URL("node_modules/llama3-tokenizer-js/README.md", import.meta.url)), "utf8"));

const cases = texts.map((plain) => {
  // The package orders equal merges by (place in the word, in bytes) / (length of the whole text, in UTF-16 units), which
  // must stay below 1: a text with longer characters gets a tail of short words.
  const extra = Buffer.byteLength(plain, "utf8") - plain.length;
  const text = extra > 0 ? plain + " .".repeat(extra) : plain;
  return { text, ids: tokenizer.encode(text, { bos: true, eos: false }) };
});
writeFileSync(casesPath, JSON.stringify(cases));
