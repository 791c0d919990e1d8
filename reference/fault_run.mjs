// Hands 10,000 damaged or hostile inputs to rxtune: files of options, rows in every format (packed too), chat templates, safetensors,
// models, tokenizers, adapters, checkpoints, regular expressions that backtrack for ever, templates that write without end. Each must end in rows, in a typed error, or in rows refused one by one: no other throw, no
// death, no more than 10 s, no more than 1 GiB. What was cut short must not pass for whole, a damaged checkpoint not for sound, and a
// command that fails must leave no file. Needs `npm run build`, and `npm run build:ts` after it for the modules one by one.
// Usage: node reference/fault_run.mjs [inputs = 10000] [seed = 1] [only = name of a kind]
import { fork } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const longest = 10_000;
const mostMemory = 2 ** 30;

/** mulberry32: the same inputs for the same seed, each input by itself. */
const randomOf = (seed) => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
};

const below = (random, n) => Math.floor(random() * n);
const pick = (random, list) => list[below(random, list.length)];

// ---- damage ----

const evil = [
  ...['null', 'true', '-1', '0', '1', '1e309', '-1e309', '1.5', '9007199254740993', '4294967296', '2147483648', '1e18'],
  ...['""', '[]', '{}', '[[]]', '"__proto__"', '"constructor"', '"\\ud800"', '"../../etc/passwd"', '" "', '"\\u0000"'],
  ...[
    `"${'a'.repeat(5000)}"`,
    '['.repeat(3000),
    `${'['.repeat(3000)}${']'.repeat(3000)}`,
    '{"a":'.repeat(500),
    '{"__proto__":{"polluted":1}}',
  ],
];

const damages = {
  cut: (random, bytes) => bytes.subarray(0, below(random, bytes.length)),
  flip: (random, bytes) => {
    const changed = Buffer.from(bytes);
    for (let n = 1 + below(random, 8); n > 0 && changed.length > 0; n--)
      changed[below(random, changed.length)] ^= 1 << below(random, 8);
    return changed;
  },
  // Near the beginning, where headers are, and near the end, where footers are.
  edges: (random, bytes) => {
    const changed = Buffer.from(bytes);
    for (let n = 1 + below(random, 4); n > 0 && changed.length > 0; n--) {
      const at = below(random, Math.min(changed.length, 64));
      changed[random() < 0.5 ? at : changed.length - 1 - at] = pick(random, [0, 0x7f, 0xff, 0x80, below(random, 256)]);
    }
    return changed;
  },
  insert: (random, bytes) => {
    const at = below(random, bytes.length + 1);
    const more = Buffer.from(Array.from({ length: 1 + below(random, 40) }, () => below(random, 256)));
    return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)]);
  },
  drop: (random, bytes) => {
    const at = below(random, bytes.length);
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + below(random, 64))]);
  },
  double: (random, bytes) => {
    const [a, b] = [below(random, bytes.length), below(random, bytes.length)].sort((x, y) => x - y);
    return Buffer.concat([bytes.subarray(0, b), bytes.subarray(a)]);
  },
  // Text: one value, word or number in place of another.
  value: (random, bytes) => {
    const text = bytes.toString('latin1');
    const tokens = [...text.matchAll(/"(?:[^"\\]|\\.){0,200}"|-?\d+(?:\.\d+)?|true|false|null|\w+/g)];
    if (tokens.length === 0) return damages.insert(random, bytes);
    const { index, 0: token } = pick(random, tokens);
    const other = random() < 0.7 ? pick(random, evil) : pick(random, tokens)[0];
    return Buffer.from(text.slice(0, index) + other + text.slice(index + token.length), 'latin1');
  },
};
const textual = ['value', 'value', 'value', ...Object.keys(damages)];
const binary = Object.keys(damages).filter((name) => name !== 'value');

// ---- hostility ----

/** Regular expressions over few letters, repetition in repetition: most backtrack catastrophically. */
const hostileRegex = (random, depth = 0) => {
  const part = () => hostileRegex(random, depth + 1);
  const times = () => pick(random, ['', '+', '*', '+?', '{1,9}', '{2,}', '?', '++']);
  const kind = depth > 3 ? 0 : below(random, 6);
  if (kind === 0) return pick(random, ['a', '[ab]', '\\w', '\\s', '.', '\\p{L}', '[^b]', ' ', '\\S']) + times();
  if (kind === 1) return `(${part()})${times()}`;
  if (kind === 2) return `(?:${part()}|${part()})${times()}`;
  if (kind === 3) return part() + part() + pick(random, ['$', 'x', '\\b', '(?=b)', '(?!a)', '']);
  if (kind === 4) return part() + pick(random, ['$', '\\1', '(?<=a+)', '(?>a+)', '\\z', '']);
  return `(?i:${part()})`;
};

/** Texts on which such expressions take longest. */
const hostileTexts = ['a'.repeat(20_000) + '!', ' '.repeat(20_000) + 'x', 'a '.repeat(10_000) + '\u{1f600}'];

const hostileTemplates = [
  '{% for a in range(100000) %}{% for b in range(100000) %}{{ a }}{% endfor %}{% endfor %}',
  "{{ 'a' * 1000000000 }}",
  "{% set ns = namespace(t='ab') %}{% for i in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
  '{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}',
  "{{ '%1000000000d' % 1 }}",
  "{{ ('a' * 100000) | replace('a', 'a' * 100000) }}",
  '{{ range(1000000000) | list | length }}',
  "{{ 'a' | center(1000000000) }}",
  '{{ [1, 2] | tojson(indent=1000000000) }}',
  "{{ (' ' * 1000000) | trim | wordwrap(1) | indent(100000) }}",
  `{{ ${'('.repeat(20000)}1${')'.repeat(20000)} }}`,
  `{{ ${'not '.repeat(20000)}1 }}`,
  `{{ ${'[-'.repeat(5000)}1 }}`,
  '{{ 10 ** 10 ** 10 }}',
  "{{ messages.__class__.constructor('return process')() }}",
];

// ---- the child: one input at a time ----

const child = async () => {
  const from = (path) => import(join(root, 'dist', path));
  const [
    { openDataset },
    { decodeExample },
    { decodeRow },
    { makeChatTemplate },
    { readSafetensors },
    { loadTokenizer },
  ] = await Promise.all(
    [
      'formats/datasets/dataset.js',
      'formats/examples/example.js',
      'operators/decode.js',
      'formats/templates/chatTemplate.js',
      'formats/tensors/safetensors.js',
      'formats/tokenizing/loadTokenizer.js',
    ].map(from),
  );
  const [
    { parseConfig },
    { decodeSftConfig },
    { loadModel, loadAdapter },
    { newestCheckpoint },
    { decodeTrainerState },
    { runCommandLine },
    { commands },
    { chooseEngine },
    { LoraConfig },
    { loraTargets },
    { expectedTensors },
    { expandPattern, pathMatcher },
  ] = await Promise.all(
    [
      'cli/configFile.js',
      'train/options/decodeConfig.js',
      'train/loading/load.js',
      'formats/checkpoints/checkpoint.js',
      'train/saving/trainerState.js',
      'cli/command.js',
      'cli/commands.js',
      'train/engine.js',
      'model/adapters/lora.js',
      'model/adapters/targets.js',
      'model/architectures.js',
      'formats/files/glob.js',
    ].map(from),
  );
  await chooseEngine({ engine: 'native', threads: 1 })().then((found) => found._tag === 'Left' && chooseEngine({})());
  const freed = (model) => Object.values(model.weights).forEach((tensor) => tensor.dispose());
  const typed = (error) => {
    const code = error?.code;
    const known =
      error !== null && typeof error === 'object' && (error._tag === 'FatalError' || error._tag === 'DataError');
    if (!known || !/^E_[A-Z0-9_]+$/.test(code) || /^E_BUG/.test(code)) throw error;
    return { refused: code };
  };
  const settled = async (task) => {
    const result = await task();
    return result._tag === 'Left' ? typed(result.left) : { value: result.right };
  };
  const rowsOf = async (file) => {
    let rows = 0;
    const codes = {};
    try {
      for await (const row of openDataset([file])) {
        const decoded = decodeRow(decodeExample)(row);
        if (decoded._tag === 'Right') rows++;
        else codes[typed(decoded.left).refused] = (codes[decoded.left.code] ?? 0) + 1;
      }
    } catch (error) {
      return { ...typed(error), rows };
    }
    return { rows, codes };
  };
  const talk = {
    kind: 'messages',
    messages: [
      { role: 'user', content: 'Two mugs?' },
      { role: 'assistant', content: 'Yes.' },
    ],
  };
  const work = {
    rows: ({ file }) => rowsOf(file),
    options: ({ text }) => {
      const parsed = parseConfig('run.yaml', text);
      if (parsed._tag === 'Left') return typed(parsed.left);
      const decoded = decodeSftConfig(parsed.right.options);
      return decoded._tag === 'Left' ? typed(decoded.left) : {};
    },
    template: ({ text }) => {
      const made = makeChatTemplate(text);
      if (made._tag === 'Left') return typed(made.left);
      const rendered = made.right.render(talk);
      return rendered._tag === 'Left' ? typed(rendered.left) : {};
    },
    safetensors: async ({ file }) => {
      const opened = await settled(readSafetensors(file));
      if (opened.refused !== undefined) return opened;
      for (const stored of opened.value.tensors.values()) {
        const values = await settled(stored.read());
        if (values.refused !== undefined) return values;
      }
      return {};
    },
    tokenizer: async ({ dir }) => {
      const loaded = await settled(loadTokenizer(dir));
      if (loaded.refused !== undefined) return loaded;
      const ids = loaded.value.encode('Three blue jars, please! äöü 你好', { addSpecialTokens: true });
      for (const text of hostileTexts) loaded.value.encodeWithOffsets(text, { addSpecialTokens: false });
      const decoded = loaded.value.decode(ids);
      loaded.value.decode(loaded.value.encode(hostileTexts[0], { addSpecialTokens: false }));
      const rendered = loaded.value.chatTemplate?.render(talk);
      if (rendered?._tag === 'Left') return typed(rendered.left);
      return { decoded: decoded.length };
    },
    expressions: async ({ dir, lora }) => {
      const decoded = LoraConfig.decode(lora);
      if (decoded._tag === 'Left') return typed(decoded.left);
      const loaded = await settled(loadModel(dir));
      const { model } = loaded.value;
      const targets = loraTargets(decoded.right, expectedTensors(model.config), [], 'llama');
      freed(model);
      return targets._tag === 'Left' ? typed(targets.left) : {};
    },
    glob: async ({ pattern }) => {
      try {
        pathMatcher(pattern)(`${'a/'.repeat(60)}${'a'.repeat(200)}.json`);
        return { found: (await expandPattern(pattern)).length };
      } catch (error) {
        return typed(error);
      }
    },
    model: async ({ dir }) => {
      const loaded = await settled(loadModel(dir));
      if (loaded.refused !== undefined) return loaded;
      freed(loaded.value.model);
      return {};
    },
    adapter: async ({ dir, base }) => {
      const loaded = await settled(loadModel(base));
      const adapted = await settled(loadAdapter(loaded.value.model, dir));
      freed(adapted.refused === undefined ? adapted.value.model : loaded.value.model);
      return adapted.refused === undefined ? {} : adapted;
    },
    checkpoint: async ({ dir }) => {
      const found = await settled(newestCheckpoint(dir));
      if (found.refused !== undefined) return found;
      return { step: found.value.checkpoint?.step, warned: found.value.warnings.length };
    },
    state: ({ text }) => {
      let value;
      try {
        value = JSON.parse(text);
      } catch {
        return { refused: 'E_INVALID_JSON' };
      }
      const decoded = decodeTrainerState('trainer_state.json')(value);
      return decoded._tag === 'Left' ? typed(decoded.left) : {};
    },
    prepare: async ({ file, dir, base }) => {
      const out = join(dir, 'out.jsonl');
      let said = '';
      const err = new PassThrough();
      err.on('data', (text) => (said += text));
      const code = await runCommandLine(commands, {
        version: '0',
        argv: [
          'prepare',
          '--tokenizer',
          base,
          '--train-dataset',
          file,
          '--out',
          out,
          '--max-length',
          '64',
          '--max-reject-rate',
          '0',
        ],
        terminal: { out: new PassThrough().resume(), err },
      });
      if (code !== 0 && !/\[E_[A-Z0-9_]+\]/.test(said)) throw new Error(`no typed error: ${said}`);
      if (/\[E_BUG/.test(said)) throw new Error(said);
      if (code !== 0 && readdirSync(dir).some((name) => name.includes('out.jsonl')))
        throw new Error(`left a file: ${said}`);
      return code === 0 ? {} : { refused: /\[(E_[A-Z0-9_]+)\]/.exec(said)[1] };
    },
  };
  process.on('message', async ({ kind, ...input }) => {
    try {
      const outcome = await work[kind](input);
      delete outcome.value;
      if ({}.polluted !== undefined) throw new Error('Object.prototype was changed');
      process.send({ outcome, memory: process.memoryUsage.rss() });
    } catch (error) {
      process.send({ failed: String(error?.stack ?? error).slice(0, 2000), memory: process.memoryUsage.rss() });
    }
  });
  process.send({ ready: true, memory: process.memoryUsage.rss() });
};

// ---- the parent: makes the inputs, holds the clock ----

const parent = async () => {
  const inputs = Number(process.argv[2] ?? 10_000);
  const seed = Number(process.argv[3] ?? 1);
  const only = process.argv[4];
  const work = mkdtempSync(join(tmpdir(), 'rxtune-faults-'));
  const golden = (...path) => join(root, 'test', 'golden', ...path);
  const base = join(root, 'examples', 'quickstart', 'base');

  const records = [
    { text: 'a plain text, "quoted" and with ünïcode 你好' },
    { prompt: 'one red mug', completion: ' = 1 x mug' },
    {
      messages: [
        { role: 'user', content: 'Hello' },
        {
          role: 'assistant',
          content: 'Hi',
          tool_calls: [{ type: 'function', function: { name: 'f', arguments: { a: 1 } } }],
        },
      ],
      tools: [{ type: 'function', function: { name: 'f' } }],
    },
    {
      conversations: [
        { from: 'human', value: 'a' },
        { from: 'gpt', value: 'b' },
      ],
    },
    { instruction: 'i', input: 'j', output: 'k' },
    { input_ids: [1, 2, 3], labels: [-100, 2, 3], attention_mask: [1, 1, 1] },
  ];
  const lines = (list) => list.map((row) => `${JSON.stringify(row)}\n`).join('');
  const csv = 'prompt,completion\n"one, red ""mug""", = 1 x mug\ntwo blue jars, = 2 x jar\n"a\nb",c\n';
  const yaml = [
    'learning_rate: 5e-4',
    'max_steps: 10',
    'packing: true',
    'target_modules: [q_proj, v_proj]',
    'r: 8',
    'lora_alpha: 16',
    'lr_scheduler_type: cosine',
    'warmup_ratio: 0.1',
    'response_template: "### A:"',
    'rank_pattern: {q_proj: 4}',
    'save_total_limit: 2',
    'max_grad_norm: null',
    '',
  ].join('\n');
  const templates = [
    JSON.parse(readFileSync(join(base, 'tokenizer_config.json'), 'utf8')).chat_template ?? '',
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>\n' + message['content']|trim + eos_token }}{% elif loop.last and not add_generation_prompt %}{% generation %}{{ message.content }}{% endgeneration %}{% else %}{{ raise_exception('no ' ~ message.role) }}{% endif %}{% endfor %}",
    "{%- macro show(x, n=2) -%}{{ x|tojson(indent=n) }}{%- endmacro -%}{% set ns = namespace(found=false, i=0) %}{% for m in messages if m.content is string %}{% set ns.i = ns.i + 1 %}{{ show(m) }}{{ '%5.2f|%-8s' % (ns.i / 3, m.role[:3]|upper) }}{{ m.content.split(' ')[-1].replace('e', '3') }}{% endfor %}{{ range(1, 10, 3)|list|join(', ') }}",
  ].filter((text) => text !== '');
  const parquets = readdirSync(join(root, 'test', 'formats', 'data')).map((name) =>
    join(root, 'test', 'formats', 'data', name),
  );
  const llama = golden('models', 'llama');
  const gpt2 = golden('models', 'gpt2');
  const adapter = golden('runs', 'gpt2-lora-adapter');

  const fileWith = (dir, name, bytes) => {
    const file = join(dir, name);
    writeFileSync(file, bytes);
    return file;
  };
  const copyOf = (dir, source, names) => {
    for (const name of names) cpSync(join(source, name), join(dir, name));
    return dir;
  };
  const damaged = (random, bytes, kinds) => {
    const how = pick(random, kinds);
    return { how, bytes: damages[how](random, Buffer.from(bytes)) };
  };
  const rowsWith = (name, bytes, kinds, whole) => (random, dir) => {
    const made = damaged(random, typeof bytes === 'function' ? bytes(random) : bytes, kinds);
    return {
      send: { kind: 'rows', file: fileWith(dir, name, made.bytes) },
      how: made.how,
      cutMustFail: whole && made.how === 'cut' && made.bytes.length > 0,
    };
  };
  const packed = (random, text) => gzipSync(damages[pick(random, textual)](random, Buffer.from(text)));

  const kinds = {
    options: (random) => ({ send: { kind: 'options', text: damaged(random, yaml, textual).bytes.toString() } }),
    template: (random) => ({
      send: { kind: 'template', text: damaged(random, pick(random, templates), textual).bytes.toString() },
    }),
    jsonl: rowsWith('a.jsonl', lines(records), textual),
    'jsonl.gz': rowsWith('a.jsonl.gz', gzipSync(lines(records)), binary, true),
    'packed damage': (random, dir) => ({
      send: { kind: 'rows', file: fileWith(dir, 'a.jsonl.gz', packed(random, lines(records))) },
    }),
    json: rowsWith('a.json', JSON.stringify(records, null, 1), textual, true),
    'json values': rowsWith('a.json', records.map((row) => JSON.stringify(row, null, 2)).join('\n'), textual),
    csv: rowsWith('a.csv', csv, textual),
    txt: rowsWith('a.txt', 'one line\nanother, with ünïcode\n\n你好\n', binary),
    parquet: rowsWith('a.parquet', (random) => readFileSync(pick(random, parquets)), binary, true),
    prepare: (random, dir) => ({
      send: {
        kind: 'prepare',
        dir,
        base,
        file: fileWith(dir, 'a.jsonl', damaged(random, lines(records.slice(1, 3)), textual).bytes),
      },
    }),
    safetensors: (random, dir) => {
      const made = damaged(random, readFileSync(join(llama, 'model.safetensors')), binary);
      return {
        send: { kind: 'safetensors', file: fileWith(dir, 'a.safetensors', made.bytes) },
        how: made.how,
        cutMustFail: made.how === 'cut',
      };
    },
    // The header as text, its length made to fit: what flipped bytes seldom reach.
    'safetensors header': (random, dir) => {
      const whole = readFileSync(join(llama, 'model.safetensors'));
      const length = Number(whole.readBigUInt64LE(0));
      const header = damaged(random, whole.subarray(8, 8 + length), ['value', 'value', 'flip', 'drop', 'double']).bytes;
      const size = Buffer.alloc(8);
      size.writeBigUInt64LE(BigInt(header.length));
      return {
        send: {
          kind: 'safetensors',
          file: fileWith(dir, 'a.safetensors', Buffer.concat([size, header, whole.subarray(8 + length)])),
        },
      };
    },
    tokenizer: (random, dir) => {
      copyOf(dir, base, ['tokenizer.json', 'tokenizer_config.json']);
      const name = random() < 0.7 ? 'tokenizer.json' : 'tokenizer_config.json';
      fileWith(dir, name, damaged(random, readFileSync(join(base, name)), textual).bytes);
      return { send: { kind: 'tokenizer', dir } };
    },
    // The short parts of a tokenizer, which damage of the whole file hardly ever meets.
    'tokenizer parts': (random, dir) => {
      copyOf(dir, base, ['tokenizer.json', 'tokenizer_config.json']);
      const { model, added_tokens: added, ...parts } = JSON.parse(readFileSync(join(base, 'tokenizer.json'), 'utf8'));
      const text = JSON.stringify({
        ...parts,
        added_tokens: added.slice(0, 4),
        model: { ...model, vocab: '@vocab', merges: '@merges' },
      });
      const changed = damages.value(random, Buffer.from(text)).toString('latin1');
      fileWith(
        dir,
        'tokenizer.json',
        changed
          .replace('"@vocab"', () => JSON.stringify(model.vocab))
          .replace('"@merges"', () => JSON.stringify(model.merges)),
      );
      return { send: { kind: 'tokenizer', dir } };
    },
    'hostile tokenizer': (random, dir) => {
      copyOf(dir, base, ['tokenizer_config.json']);
      const json = JSON.parse(readFileSync(join(base, 'tokenizer.json'), 'utf8'));
      const Regex = hostileRegex(random);
      const split = {
        type: 'Split',
        pattern: { Regex },
        behavior: pick(random, ['Isolated', 'Removed']),
        invert: false,
      };
      const replace = { type: 'Replace', pattern: { Regex }, content: pick(random, ['', ' ', 'ab']) };
      const bytes = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };
      const more = {
        split: { pre_tokenizer: { type: 'Sequence', pretokenizers: [split, bytes] } },
        replace: { normalizer: replace },
        decode: { decoder: { type: 'Sequence', decoders: [{ type: 'ByteLevel' }, { type: 'Fuse' }, replace] } },
        reference: { normalizer: { type: 'Sequence', normalizers: [{ type: 'BertNormalizer' }, replace] } },
        strip: { normalizer: { type: 'Strip', strip_left: true, strip_right: true } },
        added: {
          added_tokens: [
            ...json.added_tokens,
            ...['a', ' '].map((content, i) => ({
              ...{ id: 5000 + i, content, single_word: random() < 0.5, lstrip: random() < 0.5, rstrip: random() < 0.5 },
              ...{ normalized: false, special: false },
            })),
          ],
        },
      };
      fileWith(dir, 'tokenizer.json', JSON.stringify({ ...json, ...pick(random, Object.values(more)) }));
      return { send: { kind: 'tokenizer', dir } };
    },
    'hostile template': (random) => {
      const text = pick(random, hostileTemplates);
      return {
        send: { kind: 'template', text: random() < 0.5 ? text : damaged(random, text, textual).bytes.toString() },
      };
    },
    'hostile options': (random) => {
      const expression = hostileRegex(random).replace(/\\\\/g, '\\');
      const lora = pick(random, [
        { targetModules: expression },
        { targetModules: 'all-linear', excludeModules: expression },
        { targetModules: 'all-linear', rankPattern: { [expression]: 2 }, alphaPattern: { [expression]: 3 } },
        { targetModules: ['q_proj'], layersToTransform: [0], layersPattern: expression },
      ]);
      return { send: { kind: 'expressions', dir: llama, lora } };
    },
    'hostile pattern of files': (random, dir) => {
      fileWith(dir, 'a'.repeat(200), '');
      const segment = () =>
        pick(random, ['*a'.repeat(30), '**', '{a,aa,*}'.repeat(20), '[!b]*'.repeat(20), 'a', '*', '[z-a]', '{a']);
      const pattern = Array.from({ length: 1 + below(random, 20) }, segment).join('/');
      return { send: { kind: 'glob', pattern: random() < 0.5 ? pattern : `${dir}/${pattern}` } };
    },
    'config.json': (random, dir) => {
      const source = random() < 0.5 ? llama : gpt2;
      copyOf(dir, source, ['config.json', 'model.safetensors']);
      fileWith(dir, 'config.json', damaged(random, readFileSync(join(source, 'config.json')), textual).bytes);
      return { send: { kind: 'model', dir } };
    },
    adapter: (random, dir) => {
      copyOf(dir, adapter, readdirSync(adapter));
      const name = pick(random, readdirSync(adapter));
      fileWith(
        dir,
        name,
        damaged(random, readFileSync(join(adapter, name)), name.endsWith('.json') ? textual : binary).bytes,
      );
      return { send: { kind: 'adapter', dir, base: gpt2 } };
    },
    checkpoint: (random, dir) => {
      cpSync(checkpoints, dir, { recursive: true });
      const newest = join(dir, 'checkpoint-4');
      const name = pick(random, readdirSync(newest));
      const before = readFileSync(join(newest, name));
      const made = damaged(random, before, binary);
      if (random() < 0.1) rmSync(join(newest, name));
      else writeFileSync(join(newest, name), made.bytes);
      const changed = !existsSync(join(newest, name)) || !before.equals(readFileSync(join(newest, name)));
      return { send: { kind: 'checkpoint', dir }, expect: { step: changed ? 2 : 4, warned: changed ? 1 : 0 } };
    },
    'trainer state': (random) => ({
      send: {
        kind: 'state',
        text: damaged(
          random,
          readFileSync(join(checkpoints, 'checkpoint-4', 'trainer_state.json')),
          textual,
        ).bytes.toString(),
      },
    }),
  };

  // Two checkpoints of a run, as every checkpoint case begins.
  const checkpoints = join(work, 'checkpoints');
  {
    const { sftTrainer, orThrow, completed, loadModel } = await import(join(root, 'dist', 'index.js'));
    const { model } = await orThrow(loadModel(llama, { engine: 'cpu' }));
    const trainDataset = [1, 2, 3, 4].map((i) => ({ input_ids: [i, i + 1, 7] }));
    await orThrow(
      completed(
        sftTrainer({ model, trainDataset }, { outputDir: checkpoints, maxSteps: 4, saveSteps: 2, maxLength: 8 }),
      ),
    );
  }

  const startChild = () =>
    new Promise((done, fail) => {
      const made = fork(fileURLToPath(import.meta.url), ['child'], {
        execArgv: ['--max-old-space-size=1024'],
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      });
      made.said = '';
      made.stderr.on('data', (text) => (made.said = (made.said + text).slice(-2000)));
      made.once('message', ({ memory }) => done({ process: made, memory }));
      made.once('exit', (code) => fail(new Error(`the child ended with ${code} before it began: ${made.said}`)));
    });

  const names = Object.keys(kinds).filter((name) => only === undefined || name === only);
  let worker = await startChild();
  const began = Date.now();
  const counts = {};
  const failures = [];
  let slowest = { ms: 0 };
  for (let i = 0; i < inputs; i++) {
    const name = names[i % names.length];
    const random = randomOf(seed * 1_000_003 + i);
    const dir = join(work, 'input');
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir);
    const { send, how, cutMustFail, expect } = kinds[name](random, dir);
    const start = Date.now();
    const before = worker.memory;
    const answer = await new Promise((done) => {
      const end = (result) => {
        clearTimeout(timer);
        worker.process.off('exit', died);
        worker.process.off('message', end);
        done(result);
      };
      const died = (code, signal) => end({ failed: `died (${signal ?? code}): ${worker.process.said}`, dead: true });
      const timer = setTimeout(() => end({ failed: `took longer than ${longest} ms`, dead: true }), longest);
      worker.process.once('exit', died);
      worker.process.once('message', end);
      worker.process.send(send);
    });
    const ms = Date.now() - start;
    if (ms > slowest.ms) slowest = { ms, input: i, kind: name };
    const { outcome = {} } = answer;
    const wrong =
      answer.failed ??
      (cutMustFail && outcome.refused === undefined ? 'cut short, and taken for whole' : undefined) ??
      (expect !== undefined && (outcome.step !== expect.step || outcome.warned !== expect.warned)
        ? `found ${JSON.stringify(outcome)}, expected ${JSON.stringify(expect)}`
        : undefined) ??
      (answer.memory - before > mostMemory ? `took ${answer.memory - before} bytes` : undefined);
    const told = wrong !== undefined ? 'FAILED' : (outcome.refused ?? 'passed');
    const count = (counts[name] ??= {});
    count[told] = (count[told] ?? 0) + 1;
    if (wrong !== undefined) {
      const kept = join(work, `failed-${i}`);
      cpSync(dir, kept, { recursive: true });
      if (send.text !== undefined) writeFileSync(join(kept, 'text'), send.text);
      failures.push({ input: i, kind: name, how, wrong });
      console.error(`input ${i} (${name}, ${how ?? ''}): ${wrong}\n  kept in ${kept}`);
    }
    if (answer.dead) worker.process.kill('SIGKILL');
    if (answer.dead || answer.memory > mostMemory) {
      if (!answer.dead) worker.process.kill();
      worker = await startChild();
    } else worker.memory = answer.memory;
    if ((i + 1) % 1000 === 0) console.error(`${i + 1} inputs, ${failures.length} failures`);
  }
  worker.process.kill();
  for (const [name, count] of Object.entries(counts)) console.log(name.padEnd(20), JSON.stringify(count));
  const minutes = Number(((Date.now() - began) / 60_000).toFixed(1));
  const refused = Object.values(counts).flatMap((count) =>
    Object.entries(count).filter(([told]) => told.startsWith('E_')),
  );
  console.log(
    JSON.stringify({
      ...{ inputs, seed, failures: failures.length, refused: refused.reduce((sum, [, n]) => sum + n, 0) },
      ...{ codes: new Set(refused.map(([code]) => code)).size, slowest, minutes },
    }),
  );
  if (failures.length === 0) rmSync(work, { recursive: true, force: true });
  process.exitCode = failures.length === 0 ? 0 : 1;
};

if (process.argv[2] === 'child') await child();
else await parent();
