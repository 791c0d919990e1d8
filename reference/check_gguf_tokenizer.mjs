/**
 * Does llama.cpp cut texts into the tokens that rxtune cuts them into? Writes the tokenizer into a GGUF file of a model of zeros and
 * compares ids of texts.
 *
 *     LLAMA=~/llama node reference/check_gguf_tokenizer.mjs TOKENIZER_DIR ... [--texts FILE]     # LLAMA as for check_gguf.mjs
 *
 * Texts are lines of random letters, digits, blanks, marks and what code is made of, and those of the file, which holds a list of strings
 * as JSON. Each is compared twice: as plain text, and with the tokenizer's added tokens between its words. Exits 1 where ids differ.
 */
import { createRequire } from 'node:module';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { exportGguf, loadParts, loadTokenizer, orThrow } from '../dist/index.js';

const require = createRequire(join(process.env.LLAMA, 'package.json'));
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(require.resolve('node-llama-cpp')).href);
const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error, maxThreads: 1 });

const folder = mkdtempSync(join(tmpdir(), 'rxtune-tokens-'));

/** A Llama of zeros, with so many rows of tokens. */
const writeModel = (dir, rows) => {
  const [size, width] = [8, 8];
  const layer = 'model.layers.0';
  const shapes = {
    'model.embed_tokens.weight': [rows, size],
    'model.norm.weight': [size],
    [`${layer}.input_layernorm.weight`]: [size],
    [`${layer}.post_attention_layernorm.weight`]: [size],
    ...Object.fromEntries(['q', 'k', 'v', 'o'].map((map) => [`${layer}.self_attn.${map}_proj.weight`, [size, size]])),
    ...Object.fromEntries(['gate', 'up', 'down'].map((map) => [`${layer}.mlp.${map}_proj.weight`, [width, size]])),
  };
  let end = 0;
  const header = {};
  for (const [name, shape] of Object.entries(shapes)) {
    const begin = end;
    end += 4 * shape.reduce((product, length) => product * length, 1);
    header[name] = { dtype: 'F32', shape, data_offsets: [begin, end] };
  }
  const words = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(words.length));
  writeFileSync(join(dir, 'model.safetensors'), Buffer.concat([length, words, Buffer.alloc(end)]));
  const config = {
    model_type: 'llama',
    vocab_size: rows,
    hidden_size: size,
    intermediate_size: width,
    num_hidden_layers: 1,
    num_attention_heads: 1,
    max_position_embeddings: 64,
    tie_word_embeddings: true,
  };
  writeFileSync(join(dir, 'config.json'), JSON.stringify(config));
};

/** Numbers between 0 and 1, the same every time. */
const random = ((state) => () => {
  state = (state * 1664525 + 1013904223) >>> 0;
  return state / 2 ** 32;
})(7);
const pick = (list) => list[Math.floor(random() * list.length)];

const ranges = [
  [0x20, 0x7e],
  [0x20, 0x7e],
  [0xa1, 0x24f],
  [0x300, 0x36f],
  [0x370, 0x5ff],
  [0x600, 0x6ff],
  [0x900, 0xdff],
  [0xe00, 0xe5b],
  [0x1780, 0x17e9],
  [0x2000, 0x2bff],
  [0x3000, 0x30ff],
  [0x4e00, 0x9fff],
  [0xac00, 0xd7a3],
  [0xff00, 0xffef],
  [0x10400, 0x104ff],
  [0x1f300, 0x1faff],
];
const letter = () => {
  const [first, last] = pick(ranges);
  return String.fromCodePoint(first + Math.floor(random() * (last - first + 1)));
};
const words = [
  ..."the The THE don't DON'T I'll we'VE it'S 's 'ſ naïve naïve Köln 東京 我们 привет Ёж ½ ² ٣٤ ไทย".split(' '),
  ...'1 12 123 1234 12345678 3.14 1,000 0x1F a1b2 () {} [] => != === <p> </p> // # -- ... ?!'.split(' '),
  ...[
    ' ',
    '  ',
    '   ',
    '    ',
    '\t',
    '\t\t',
    '\n',
    '\n\n',
    '\n\n\n',
    '\r\n',
    ' \n',
    '\n ',
    '\u00a0',
    '\u3000',
    '\u200b',
    '\ufeff',
    '\u2028',
    '\u0085',
  ],
  ...[
    'camelCase',
    'snake_case',
    'HTTPServer',
    'iPhone',
    'McDonald',
    'for(i=0;i<10;i++)',
    'x = y;',
    '👨‍👩‍👧',
    '👋🏽',
    '🇫🇷',
  ],
];
const made = [
  ...Array.from({ length: 1000 }, () =>
    Array.from({ length: 1 + Math.floor(random() * 12) }, () => pick(words)).join(pick(['', ' '])),
  ),
  ...Array.from({ length: 1000 }, () => Array.from({ length: 1 + Math.floor(random() * 16) }, letter).join('')),
];

const [file] = process.argv.flatMap((word, i) => (process.argv[i - 1] === '--texts' ? [word] : []));
const texts = [...made, ...(file === undefined ? [] : JSON.parse(readFileSync(file, 'utf8')))];

/** A comparison: how many of the texts have other ids, and the first of them. */
const compare = (of, ours, theirs) => {
  const wrong = of.flatMap((text) => {
    const [a, b] = [ours(text).join(), theirs(text).join()];
    return a === b ? [] : [{ text, a, b }];
  });
  const shown = wrong
    .slice(0, Number(process.env.SHOWN ?? 2))
    .map(({ text, a, b }) => `\n  ${JSON.stringify(text)}\n    ours   ${a}\n    theirs ${b}`);
  return { count: wrong.length, told: `${of.length - wrong.length} of ${of.length}`, shown: shown.join('') };
};

let failed = false;
for (const dir of process.argv.slice(2).filter((word) => word !== '--texts' && word !== file)) {
  const own = mkdtempSync(join(folder, 'model-'));
  cpSync(dir, own, { recursive: true });
  for (const name of readdirSync(own).filter((entry) => entry.endsWith('.gz')))
    writeFileSync(join(own, name.slice(0, -3)), gunzipSync(readFileSync(join(own, name))));
  const tokenizer = await orThrow(loadTokenizer(own));
  writeModel(own, tokenizer.vocabSize);
  const { model } = await orThrow(loadParts(own));
  const written = join(own, 'model.gguf');
  const result = await exportGguf(written, model, { tokenizer, outtype: 'f32' })();
  if (result._tag === 'Left') {
    console.log(`${basename(dir)}: refused: ${result.left.message} (${result.left.details?.field})`);
    continue;
  }
  const there = await llama.loadModel({ modelPath: written, vocabOnly: true });
  const ours = (text) => [...tokenizer.encode(text, { addSpecialTokens: false })];
  const plain = compare(texts, ours, (text) => there.tokenize(text, false));
  const added = JSON.parse(tokenizer.files['tokenizer.json'] ?? '{}').added_tokens?.map(({ content }) => content) ?? [];
  const between = texts.slice(0, added.length === 0 ? 0 : 500).map((text) => {
    const parts = text.split(' ');
    return parts.flatMap((part, i) => (i === 0 ? [part] : [pick(['', ' ', pick(added)]), part])).join('');
  });
  const chat = compare([...added, ...between], ours, (text) => there.tokenize(text, true));
  failed ||= plain.count + chat.count > 0;
  const warned = result.right.map(({ code, details }) => ` [${code} ${details?.field ?? ''}]`).join('');
  console.log(
    `${basename(dir)}: ${plain.told} texts alike, ${chat.told} with added tokens${warned}${plain.shown}${chat.shown}`,
  );
  await there.dispose();
}
rmSync(folder, { recursive: true, force: true });
process.exit(failed ? 1 : 0);
