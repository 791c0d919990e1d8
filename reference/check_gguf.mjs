/**
 * Does llama.cpp compute what rxtune computes? Exports models as GGUF and compares ids of texts, greedy continuations, and the probabilities
 * of all tokens on the way.
 *
 *     npm install --prefix ~/llama node-llama-cpp@3 --ignore-scripts       # llama.cpp, built already
 *     LLAMA=~/llama node reference/check_gguf.mjs [--lora] MODEL_DIR ...
 *
 * A directory without a tokenizer gets a toy one of single letters. --lora: with an adapter of random halves on all its linear maps,
 * in a file of its own there, but for maps that llama.cpp has no place for one at. Exits 1 where something differs.
 */
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  attachLora,
  exportGguf,
  exportGgufAdapter,
  generate,
  loadParts,
  logits,
  LoraConfig,
  makeTokenizer,
  orThrow,
} from '../dist/index.js';

const require = createRequire(join(process.env.LLAMA, 'package.json'));
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(require.resolve('node-llama-cpp')).href);
const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error, maxThreads: 1 });

/** The nearest float16. */
const half = (x) => {
  const unit = 2 ** (Math.max(-14, Math.floor(Math.log2(Math.abs(x)))) - 10);
  return x === 0 ? 0 : Math.round(x / unit) * unit;
};

/** GELU as llama.cpp looks it up: of float16, in float16. */
const gelu = (x) => {
  const near = half(x);
  return half(0.5 * near * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * near * (1 + 0.044715 * near * near))));
};

/** Lets rxtune compute GELU so too: networks of random weights make much of what that rounds. */
const roundGelu = () => {
  const tfjs = createRequire(import.meta.url)('@tensorflow/tfjs-core');
  const backend = tfjs.getBackend();
  const rounded = (name, from, to) => {
    const known = tfjs.getKernel(name, backend);
    if (known === undefined) throw new Error(`no kernel ${name} of ${backend}: build the engine`);
    tfjs.unregisterKernel(name, backend);
    const kernelFunc = (given) => {
      if (given.attrs.kind !== 'gelu_new') return known.kernelFunc(given);
      const { shape } = given.inputs[from];
      return tfjs.tensor(to(given.inputs), shape, 'float32');
    };
    tfjs.registerKernel({ ...known, kernelFunc });
  };
  rounded('RxActivation', 'x', ({ x }) => x.dataSync().map(gelu));
  rounded('RxGatedActivation', 'gate', ({ gate, up }) => {
    const factors = up.dataSync();
    return gate.dataSync().map((x, i) => gelu(x) * factors[i]);
  });
};
let rounds = false;

const toy = (size) => {
  const letters = Array.from({ length: size }, (_, i) => String.fromCodePoint(33 + i));
  const made = makeTokenizer({
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', vocab: Object.fromEntries(letters.map((letter, id) => [letter, id])), merges: [] },
  });
  return made.right;
};

const texts = [
  'Two red mugs for Friday, please.',
  'On Sunday I will come\nfor 17 grey   shelves. Ça va? 漢字 🙂',
  "don't  stop: x = [1, 2, 3];\n\n\treturn",
];

/** Logits of what comes after a prompt. */
const logitsAfter = async (model, prompt) => {
  const positionIds = Int32Array.from(prompt.keys());
  const sequence = { inputIds: Int32Array.from(prompt), positionIds, cuSeqlens: Int32Array.of(0, prompt.length) };
  const last = logits(model, sequence, Int32Array.of(prompt.length - 1));
  const values = await last.data();
  last.dispose();
  return values;
};

/** The same as probabilities. */
const probabilitiesAfter = async (model, prompt) => {
  const values = await logitsAfter(model, prompt);
  const largest = values.reduce((most, value) => Math.max(most, value), -Infinity);
  const powers = values.map((value) => Math.exp(value - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
};

/** How far apart the logits of two ids are after a prompt. */
const gap = async (model, prompt, a, b) => {
  const values = await logitsAfter(model, prompt);
  return Math.abs(values[a] - values[b]);
};

const folder = mkdtempSync(join(tmpdir(), 'rxtune-gguf-'));
let wrong = 0;
const lora = process.argv.includes('--lora');
for (const dir of process.argv.slice(2).filter((word) => word !== '--lora')) {
  const { model: base, tokenizer } = await orThrow(loadParts(dir));
  if (!rounds) roundGelu();
  rounds = true;
  const options = { r: 4, loraAlpha: 8, initLoraWeights: false, targetModules: 'all-linear' };
  const adapted = (excludeModules) =>
    attachLora(base, LoraConfig.decode({ ...options, ...excludeModules }).right, { seed: 1 }).right;
  const spoken = tokenizer ?? toy(base.config.vocabSize);
  const file = join(folder, `${basename(dir)}.gguf`);
  const written = await exportGguf(file, base, { tokenizer: spoken, outtype: 'f32' })();
  if (written._tag === 'Left') {
    console.log(`${basename(dir)}: refused: ${written.left.details.field}`);
    continue;
  }
  // What a tokenizer is warned of changes no probabilities.
  const warnings = written.right.filter(({ code }) => code !== 'W_GGUF_TOKENIZER');
  const adapter = `${file}.lora`;
  let model = lora ? adapted({}) : base;
  const excludeModules = [];
  while (lora) {
    const given = await exportGgufAdapter(adapter, model, { outtype: 'f32' })();
    if (given._tag === 'Right') break;
    excludeModules.push(given.left.details.field);
    model = adapted({ excludeModules });
  }
  const there = await llama.loadModel({ modelPath: file, useMmap: false }).catch(() => undefined);
  if (there === undefined) {
    wrong++;
    console.log(`${basename(dir)}: llama.cpp does not open it`);
    continue;
  }
  const asked = tokenizer === undefined ? [] : texts;
  const ids = asked.map((text) => {
    const ours = [...spoken.encode(text, { addSpecialTokens: false })].join();
    const theirs = there.tokenize(text, false).join();
    return ours === theirs || `\n  ours   ${ours}\n  theirs ${theirs}`;
  });
  const prompt =
    tokenizer === undefined
      ? [3, 1, 4, 1, 5]
      : [...spoken.encode('On Friday I will come for two red mugs. ', { addSpecialTokens: true })];
  const context = await there.createContext({
    contextSize: Math.min(256, model.config.maxPositions),
    threads: 1,
    // Of float16, the default, numbers are further apart than what is looked for.
    experimentalKvCacheKeyType: 'F32',
    experimentalKvCacheValueType: 'F32',
    flashAttention: false,
    ...(lora ? { lora: { adapters: [{ filePath: adapter }] } } : {}),
  });
  const theirs = [];
  // The furthest that a probability of theirs is from ours.
  let apart = 0;
  const wanted = Math.min(12, model.config.maxPositions - prompt.length - 1);
  const greedy = { temperature: 0, yieldEogToken: true };
  const each = context.getSequence().evaluateWithMetadata(prompt, { probabilities: true }, greedy);
  for await (const { token, probabilities } of each) {
    const ours = await probabilitiesAfter(model, [...prompt, ...theirs]);
    for (const [id, probability] of probabilities) apart = Math.max(apart, Math.abs(probability - ours[id]));
    theirs.push(token);
    if (theirs.length >= wanted) break;
  }
  const ours = [];
  for await (const id of generate(model, Int32Array.from(prompt), { maxNewTokens: wanted, stopIds: [] })) ours.push(id);
  // Where two tokens are all but equally likely, either may come first.
  const at = ours.findIndex((id, i) => id !== theirs[i]);
  const close = at < 0 ? 0 : await gap(model, [...prompt, ...ours.slice(0, at)], ours[at], theirs[at]);
  const same = (close < 5e-3 && apart < 1e-3) || warnings.length > 0;
  const told = ids.filter((answer) => answer !== true);
  if (!same || told.length > 0) wrong++;
  console.log(
    `${basename(dir)}: ${asked.length - told.length} of ${asked.length} texts alike, ` +
      `${same ? `${at < 0 ? wanted : at} greedy tokens alike${at < 0 || warnings.length > 0 ? '' : ', then two are equally likely'}, probabilities within ${apart.toPrecision(2)}` : `probabilities ${apart.toPrecision(2)} apart\n  ours   ${ours}\n  theirs ${theirs}`}` +
      `${[...new Set(excludeModules.map((module) => ` [not ${module.replace(/\.\d+(?=\.)/g, '.*')}]`))].join('')}${warnings.map(({ code }) => ` [${code}]`).join('')}${told.join('')}`,
  );
  await there.dispose();
}
rmSync(folder, { recursive: true, force: true });
process.exit(wrong === 0 ? 0 : 1);
