// Makes the runs of random_runs.py again and says where rxtune differs: rows, every logged number, evaluations, steps, checkpoints kept, the
// best of them, the state, weights and adapter files. A run is also stopped and resumed, which must change nothing.
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { lastValueFrom, toArray } from 'rxjs';
import {
  completed,
  decodeSftConfig,
  loadModel,
  loadTokenizer,
  makeRejects,
  orThrow,
  prepareDataset,
  sftTrainer,
} from 'rxtune';

const [dir = 'runs', ...asked] = process.argv.slice(2);
const json = (...path) => JSON.parse(readFileSync(join(...path), 'utf8'));
const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());

/** Tensors of a safetensors file, by name. */
const tensorsOf = (file) => {
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const { __metadata__: _, ...header } = JSON.parse(bytes.toString('utf8', 8, 8 + length));
  const tensors = {};
  for (const [stored, { data_offsets: offsets, shape, dtype }] of Object.entries(header)) {
    const own = bytes.subarray(8 + length + offsets[0], 8 + length + offsets[1]);
    // transformers 5.18 writes this norm of OLMo Hybrid under one name whatever the layer, published files do not.
    const name = stored.replace('feedforward_layer_norm', 'post_attention_layernorm');
    const { buffer } = new Uint8Array(own);
    const halves = dtype === 'BF16' ? Uint32Array.from(new Uint16Array(buffer), (bits) => bits << 16) : undefined;
    tensors[name] = { shape, values: new Float32Array(halves?.buffer ?? buffer) };
  }
  // Experts of Qwen3-VL are inputs first in published files, outputs first (more than there are inputs here) as transformers 5 writes them.
  for (const [name, { shape, values }] of Object.entries(tensors)) {
    if (!/language_model.*experts\.(gate_up|down)_proj$/.test(name)) continue;
    const [experts, rows, columns] = shape;
    if (rows < columns) continue;
    const turned = new Float32Array(values.length);
    values.forEach((value, at) => {
      const [expert, place] = [Math.floor(at / (rows * columns)), at % (rows * columns)];
      turned[expert * rows * columns + (place % columns) * rows + Math.floor(place / columns)] = value;
    });
    tensors[name] = { shape: [experts, columns, rows], values: turned };
  }
  // Its convolutions of queries, keys and values it cuts in three alike, however many channels each has: compared in one.
  for (const name of Object.keys(tensors).filter((one) => one.includes('.q_conv1d.'))) {
    const parts = ['q', 'k', 'v'].map((part) => name.replace('.q_conv1d.', `.${part}_conv1d.`));
    const values = parts.flatMap((part) => [...tensors[part].values]);
    for (const part of parts) delete tensors[part];
    tensors[name.replace('.q_conv1d.', '.conv1d.')] = { shape: [values.length], values };
  }
  return tensors;
};

const optionsOf = ({
  options,
  order,
  early,
  meanOfMeans,
  parity,
  templates: [responseTemplate, instructionTemplate] = [],
}) => {
  const given = Object.entries(options).filter(([name, value]) => value !== null && name !== 'train_sampling_strategy');
  return {
    ...Object.fromEntries(given.map(([name, value]) => [camel(name), value])),
    shuffle: order !== 'given',
    groupByLength: order === 'by length',
    ...(early === null ? {} : { earlyStoppingPatience: early.patience, earlyStoppingThreshold: early.threshold }),
    // As transformers 5 and TRL 1.13 do: docs/parity.md.
    ...(parity
      ? { parity: 'trl-0.7.10' }
      : { epochRemainder: 'update', promptBorder: 'prompt_ids', ...(meanOfMeans ? { lossMean: 'microBatch' } : {}) }),
    ...(responseTemplate === undefined ? {} : { responseTemplate }),
    ...(instructionTemplate === undefined ? {} : { instructionTemplate }),
    preparedCache: false,
    maxMemory: 0,
  };
};

/** transformers 5 evaluates and saves after the last update whatever the strategies say. */
const atTheEnd = (options) => {
  let last = Infinity;
  return (event) => {
    if (event.kind === 'begun') last = event.begun.plan.totalSteps;
    if (event.kind !== 'step' || event.step.step !== last) return undefined;
    const evaluates = options.evalStrategy === 'steps' && last >= (options.evalDelay ?? 0);
    return {
      ...(evaluates ? { shouldEvaluate: true } : {}),
      ...(options.saveStrategy === 'steps' ? { shouldSave: true } : {}),
    };
  };
};

const partsOf = async (at, lora) => {
  const { model } = await orThrow(
    loadModel(join(at, 'model'), lora === null ? {} : { adapterDir: join(at, 'adapter') }),
  );
  return { model, tokenizer: await orThrow(loadTokenizer(join(at, 'tokenizer'))) };
};

/** A run into `outputDir`; stopped after an update where one is named. */
const made = async (at, testCase, rows, outputDir, { stopAfter, resumeFromCheckpoint } = {}) => {
  const options = optionsOf(testCase);
  const { model, tokenizer } = await partsOf(at, testCase.lora);
  const sets = rows.eval;
  const stop = (event, run) => {
    if (event.kind === 'step' && event.step.step === stopAfter) run.stop({ checkpoint: true });
  };
  const run = sftTrainer(
    {
      model,
      modelName: 'model',
      tokenizer,
      trainDataset: rows.train,
      ...(Object.keys(sets).length === 0 ? {} : { evalDataset: sets[''] ?? sets }),
      callbacks: [atTheEnd(options), stop],
    },
    { ...options, outputDir, ...(resumeFromCheckpoint === undefined ? {} : { resumeFromCheckpoint }) },
  );
  const warnings = [];
  run.warnings.subscribe((warned) => warnings.push(warned.message));
  let plan;
  run.begun.subscribe((begun) => (plan = begun.plan));
  const summary = await orThrow(completed(run));
  const weights = Object.values(model.weights);
  for (const weight of weights) if (!weight.isDisposed) weight.dispose();
  return { summary, plan, warnings, options };
};

const rowsOf = async (at, testCase, dataset, packing) => {
  const tokenizer = await orThrow(loadTokenizer(join(at, 'tokenizer')));
  const decoded = decodeSftConfig(optionsOf(testCase));
  if (decoded._tag === 'Left') throw decoded.left;
  const config = { ...decoded.right, maxLength: decoded.right.maxLength ?? 256, packing };
  const rejects = makeRejects();
  const made = await lastValueFrom(prepareDataset(dataset, { tokenizer, rejects }, config).pipe(toArray()));
  return made.map(({ inputIds, labels, seqLengths }) => ({
    ids: [...inputIds],
    labels: [...labels],
    lengths: [...seqLengths],
  }));
};

/** The first label of a document reaches no loss: whether it is there is of no consequence. */
const comparable = ({ ids, labels, lengths }) => {
  const own = [...labels];
  let at = 0;
  for (const length of lengths) {
    own[at] = -100;
    at += length;
  }
  return JSON.stringify([ids, own, lengths]);
};

const linesOf = (file) => {
  try {
    return readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  } catch {
    return [];
  }
};

const apart = (a, b) => Math.abs(a - b) / Math.max(1e-9, Math.abs(b));

/** How far logged numbers of one name may be apart. */
const tolerance = (key, { items }) => {
  if (key.endsWith('mean_token_accuracy')) return (a, b) => Math.abs(a - b) * items < 0.5;
  if (key === 'learning_rate' || key === 'epoch')
    return (a, b) => Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(b)) + 1e-13;
  if (key === 'num_tokens' || key === 'step' || key.endsWith('num_tokens')) return (a, b) => a === b;
  if (key === 'grad_norm') return (a, b) => apart(a, b) < 2e-3 || Math.abs(a - b) < 1e-5;
  return (a, b) => apart(a, b) < 3e-4 || Math.abs(a - b) < 1e-5;
};

/** TRL calls loss alone by the name of its set. */
const named = (row) => {
  const [, name] = Object.keys(row)
    .map((key) => /^eval_(\w)_loss$/.exec(key))
    .find((match) => match !== null) ?? [null, null];
  const called = (key) => (name === null ? key : key.replace(/^eval_(?=entropy|mean|aux)/, `eval_${name}_`));
  return Object.fromEntries(Object.entries(row).map(([key, value]) => [called(key), value]));
};

const compareLogs = (differs, ours, theirs, what, keys) => {
  const steps = (rows) => rows.map(({ step }) => step).join(' ');
  if (steps(ours) !== steps(theirs)) return differs(`${what} steps`, steps(theirs), steps(ours));
  for (const [i, row] of theirs.entries()) {
    const items = row.items ?? row.eval_items ?? 1;
    for (const [key, value] of Object.entries(row)) {
      if (!keys.test(key)) continue;
      const own = ours[i][key];
      if (own === undefined || !tolerance(key, { items })(own, Number(value))) {
        differs(`${what} ${key} at step ${row.step}`, value, own);
        return;
      }
    }
  }
};

/** Of keys' biases (where they do not turn) the gradient is nothing but rounding, which Adam makes steps of: what all scores share changes no attention. */
const meansNothing = /(k_proj|k_layernorm|key|c_attn|query_key_value|qkv_proj|attention)\..*bias$/;

/** ‖ours - theirs‖ over ‖theirs - begun‖, all tensors together. */
const compareWeights = (differs, ours, theirs, begun) => {
  const names = (tensors) => Object.keys(tensors).sort().join(' ');
  if (names(ours) !== names(theirs)) {
    const missing = Object.keys(theirs).filter((name) => !(name in ours));
    const more = Object.keys(ours).filter((name) => !(name in theirs));
    return differs('tensors', missing.join(' '), more.join(' '));
  }
  let [off, moved] = [0, 0];
  const worst = [];
  for (const [name, { values, shape }] of Object.entries(theirs)) {
    if (ours[name].shape.join() !== shape.join()) return differs(`shape of ${name}`, shape, ours[name].shape);
    if (meansNothing.test(name)) continue;
    let [own, way] = [0, 0];
    values.forEach((value, i) => {
      own += (value - ours[name].values[i]) ** 2;
      way += (value - (begun[name]?.values[i] ?? 0)) ** 2;
    });
    off += own;
    moved += way;
    worst.push([Math.sqrt(own), name]);
  }
  const share = Math.sqrt(off / Math.max(moved, 1e-20));
  worst.sort(([a], [b]) => b - a);
  if (share > 0.01)
    differs('weights', `moved ${Math.sqrt(moved)}`, `${(100 * share).toFixed(2)} % off, most in ${worst[0][1]}`);
  return share;
};

const sameFiles = (differs, what, a, b, names) => {
  for (const name of names) {
    const read = (at) => {
      try {
        return readFileSync(join(at, name));
      } catch {
        return Buffer.from('');
      }
    };
    if (!read(a).equals(read(b))) differs(`${what}: ${name}`, 'the same', 'another');
  }
};

const adapterFields = [
  'r',
  'lora_alpha',
  'bias',
  'modules_to_save',
  'use_rslora',
  'use_dora',
  'rank_pattern',
  'alpha_pattern',
  'layers_to_transform',
  'fan_in_fan_out',
  'task_type',
  'peft_type',
  'trainable_token_indices',
  'target_modules',
  'inference_mode',
  'base_model_name_or_path',
  'exclude_modules',
  'layers_pattern',
];

const sortedText = (value) => JSON.stringify(Array.isArray(value) ? [...value].sort() : (value ?? null));
const absent = new Set(['null', 'false', '{}']);

const compareRun = async (name) => {
  const at = join(dir, name);
  const [testCase, rows, theirs] = [json(at, 'case.json'), json(at, 'rows.json'), json(at, 'theirs.json')];
  const found = [];
  const differs = (what, wanted, own) =>
    found.push(`${what}: ${JSON.stringify(wanted)} there, ${JSON.stringify(own)} here`);
  const out = join(at, 'ours');
  for (const old of ['ours', 'stopped']) rmSync(join(at, old), { recursive: true, force: true });
  mkdirSync(out);
  const emptied = theirs.rows?.length === 0 || Object.values(theirs.evalRows ?? {}).some((own) => own.length === 0);
  let run;
  try {
    run = await made(at, testCase, rows, out);
  } catch (error) {
    if (theirs.error !== undefined && error.code === 'E_NO_ROWS') return { emptied: true, found: [] };
    if (theirs.error !== undefined) return { both: true, found: [], note: `${theirs.error} | ${error.message}` };
    if ((emptied && error.code === 'E_NO_ROWS') || error.code === 'E_NO_BATCH') return { emptied: true, found: [] };
    return { found: [`fails here: ${error.code ?? ''} ${error.message ?? error} ${error.hint ?? ''}`], testCase };
  }
  if (theirs.error !== undefined) return { refused: theirs.error, found: [], testCase };
  const { options } = testCase;
  const compareRows = async (what, dataset, wanted, packing) => {
    const own = (await rowsOf(at, testCase, dataset, packing)).map(comparable);
    const documents = packing && options.packing_strategy !== 'wrapped' && !testCase.parity;
    const expected = wanted.map((row) =>
      comparable({
        ids: row.input_ids,
        labels: row.labels,
        lengths: documents ? row.seq_lengths : [row.input_ids.length],
      }),
    );
    const first = expected.findIndex((text, i) => text !== own[i]);
    if (first !== -1 || own.length !== expected.length) {
      differs(`${what} row ${first} of ${expected.length}, ${own.length} here`, expected[first], own[first]);
    }
  };
  await compareRows('train', rows.train, theirs.rows, options.packing ?? false);
  for (const [set, own] of Object.entries(rows.eval)) {
    await compareRows(`eval ${set}`, own, theirs.evalRows[set], options.eval_packing ?? options.packing ?? false);
  }
  const history = theirs.history;
  // Of a row over several updates TRL tells the mean over micro-batches, rxtune that of the updates' means.
  if (options.gradient_accumulation_steps > 1) for (const row of history) delete row.aux_loss;
  compareLogs(
    differs,
    linesOf(join(out, 'log.jsonl')),
    history.filter((row) => 'loss' in row),
    'log',
    /^(loss|grad_norm|learning_rate|num_tokens|mean_token_accuracy|entropy|epoch|aux_loss|step)$/,
  );
  compareLogs(
    differs,
    linesOf(join(out, 'evaluations.jsonl')),
    history.filter((row) => Object.keys(row).some((key) => /^eval_.*loss$/.test(key))).map(named),
    'evaluation',
    /^(step|epoch|eval_(\w+_)?(loss|entropy|mean_token_accuracy))$/,
  );
  const { summary, plan } = run;
  if (summary.steps !== theirs.state.global_step) differs('steps', theirs.state.global_step, summary.steps);
  if (plan.totalSteps !== theirs.state.max_steps) differs('max_steps', theirs.state.max_steps, plan.totalSteps);
  if (apart(summary.epoch, theirs.state.epoch) > 1e-9) differs('epoch', theirs.state.epoch, summary.epoch);
  const told = history.find((row) => 'train_loss' in row);
  if (apart(summary.trainLoss, told.train_loss) > 3e-4) differs('train_loss', told.train_loss, summary.trainLoss);
  if (testCase.options.metric_for_best_model !== undefined && (summary.bestStep ?? null) !== theirs.state.best_step) {
    differs('best step', theirs.state.best_step, summary.bestStep);
  }
  const checkpoints = readdirSync(out).filter((file) => file.startsWith('checkpoint-'));
  if (checkpoints.sort().join() !== theirs.checkpoints.join()) differs('checkpoints', theirs.checkpoints, checkpoints);
  for (const checkpoint of checkpoints.filter((one) => theirs.checkpoints.includes(one))) {
    const [own, other] = [
      json(out, checkpoint, 'trainer_state.json'),
      json(at, 'theirs', checkpoint, 'trainer_state.json'),
    ];
    for (const key of ['global_step', 'max_steps', 'epoch']) {
      if (apart(own[key], other[key]) > 1e-9) differs(`${checkpoint} ${key}`, other[key], own[key]);
    }
    if (other.best_global_step !== null && own.best_step !== other.best_global_step) {
      differs(`${checkpoint} best_global_step`, other.best_global_step, own.best_step);
    }
    const place = (dir) => (dir === null ? null : dir.split('/').at(-1));
    if (options.load_best_model_at_end && place(own.best_model_checkpoint) !== place(other.best_model_checkpoint)) {
      differs(`${checkpoint} best_model_checkpoint`, other.best_model_checkpoint, own.best_model_checkpoint);
    }
    const kinds = (state) => state.log_history.map((row) => `${'loss' in row ? 'l' : 'e'}${row.step}`);
    // A checkpoint is the last thing of its update here: what the end of an epoch told is in it.
    const [here, there] = [kinds(own), kinds(other)];
    const same = there.every((kind, i) => kind === here[i]);
    const more = here.slice(there.length).every((kind) => kind.slice(1) === String(own.global_step));
    if (!same || !more) differs(`${checkpoint} log_history`, there.join(' '), here.join(' '));
  }
  const file = testCase.lora === null ? 'model.safetensors' : 'adapter_model.safetensors';
  const share = compareWeights(
    differs,
    tensorsOf(join(out, file)),
    tensorsOf(join(at, 'theirs', 'final', file)),
    tensorsOf(join(at, testCase.lora === null ? 'model' : 'adapter', file)),
  );
  if (testCase.lora !== null) {
    const [own, other] = [json(out, 'adapter_config.json'), json(at, 'theirs', 'final', 'adapter_config.json')];
    for (const key of adapterFields) {
      // Of models that see images, modules by their whole paths.
      if (key === 'target_modules' && /text_model/.test(other[key])) continue;
      const [a, b] = [sortedText(own[key]), sortedText(other[key])];
      if (a !== b && !(absent.has(a) && absent.has(b))) differs(`adapter_config ${key}`, other[key], own[key]);
    }
  }
  try {
    await compareResumed(differs, at, testCase, rows, out, run);
  } catch (error) {
    found.push(`cannot be resumed: ${error.code ?? ''} ${error.message ?? error}`);
  }
  return { found, share, testCase };
};

/** Stopped midway and resumed, or resumed from a checkpoint of the whole run: the same logs and weights, byte for byte. */
const compareResumed = async (differs, at, testCase, rows, out, { summary, plan }) => {
  if (testCase.resume === '' || testCase.options.save_only_model || summary.steps < 2) return;
  const again = join(at, 'stopped');
  mkdirSync(again);
  const files = [testCase.lora === null ? 'model.safetensors' : 'adapter_model.safetensors'];
  if (testCase.resume === 'checkpoint') {
    const [first] = readdirSync(out)
      .filter((file) => file.startsWith('checkpoint-'))
      .sort();
    if (first === undefined || Number(first.slice(11)) >= summary.steps) return;
    await made(at, testCase, rows, again, { resumeFromCheckpoint: join(out, first) });
    sameFiles(differs, `resumed from ${first}`, out, again, files);
    return;
  }
  const stopAfter = Math.max(1, Math.floor(Math.min(summary.steps, plan.totalSteps) / 2));
  await made(at, testCase, rows, again, { stopAfter });
  await made(at, testCase, rows, again, { resumeFromCheckpoint: true });
  sameFiles(differs, `stopped after ${stopAfter}`, out, again, [...files, 'log.jsonl', 'evaluations.jsonl']);
};

const names = readdirSync(dir)
  .filter((name) => /^\d+-\d+$/.test(name) && (asked.length === 0 || asked.includes(name)))
  .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
const counts = { compared: 0, different: 0, refusedThere: 0, refusedByBoth: 0, nothingLeft: 0 };
const shares = [];
for (const name of names) {
  const { found, share, refused, both, emptied, note, testCase } = await compareRun(name);
  if (emptied) {
    // TRL trains, or evaluates, on no rows or no batch at all then.
    counts.nothingLeft += 1;
    continue;
  }
  if (both) {
    counts.refusedByBoth += 1;
    console.log(`${name} refused by both: ${note.slice(0, 300)}`);
    continue;
  }
  if (refused !== undefined) {
    counts.refusedThere += 1;
    console.log(`${name} refused there alone: ${refused}`);
    continue;
  }
  counts.compared += 1;
  if (typeof share === 'number') shares.push(share);
  if (found.length > 0) {
    counts.different += 1;
    console.log(`${name} ${testCase.architecture} ${testCase.kind} ${testCase.lora === null ? '' : 'LoRA '}differs`);
    for (const one of found) console.log(`  ${one.slice(0, 400)}`);
  }
}
shares.sort((a, b) => a - b);
const middle = shares[Math.floor(shares.length / 2)];
console.log(
  JSON.stringify(counts),
  `weights off by ${middle?.toExponential(1)} in the middle, ${shares.at(-1)?.toExponential(1)} at most`,
);
process.exitCode = counts.different === 0 ? 0 : 1;
