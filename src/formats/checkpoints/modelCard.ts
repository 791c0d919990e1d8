/** README.md of a trained model: what it was made from, how, and how to use it. Nothing in it depends on the clock or the machine. */
import { withoutSecrets } from '../../errors.js';

export interface ModelCard {
  readonly name: string;
  /** Where it is uploaded to; who uses it names that. */
  readonly repoId?: string | undefined;
  /** Name on the Hub, or of a directory. */
  readonly baseModel?: string | undefined;
  /** Whether `baseModel` and these data sets are names on the Hub, which its pages link. */
  readonly baseOnHub: boolean;
  readonly datasets: ReadonlyArray<{ readonly name: string; readonly onHub: boolean }>;
  /** The output is a PEFT adapter, not a whole model. */
  readonly adapter: boolean;
  /** Conversations go through a template. */
  readonly chats: boolean;
  /** How weights were rounded, where that is what was done, not training: `GPTQ in 4 bits, groups of 128`. */
  readonly quantization?: string | undefined;
  readonly trainableParameters: number;
  readonly totalParameters: number;
  /** What became of the rows; numbers by what they count. */
  readonly data: Readonly<Record<string, number>>;
  /** Options that are not their defaults. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly metrics: Readonly<Record<string, number>>;
}

/** By this a later run knows a card that it may write anew. */
export const cardMark = '<!-- This card was written by rxtune, which writes it anew as long as this line is here. -->';

/** Words that YAML takes for a truth value or for nothing. */
const yamlWord = /^(?:true|false|yes|no|on|off|y|n|null)$/i;

/** A YAML scalar: JSON's texts are YAML's. */
const scalar = (text: string): string =>
  /^[A-Za-z][\w./-]*$/.test(text) && !yamlWord.test(text) ? text : JSON.stringify(text);

const list = (name: string, items: ReadonlyArray<string>): ReadonlyArray<string> =>
  items.length === 0 ? [] : [`${name}:`, ...items.map((item) => `- ${scalar(item)}`)];

/** A cell of a table: what would end it is escaped. */
const cell = (value: unknown): string =>
  (typeof value === 'string' ? value : JSON.stringify(value))
    .replaceAll('\\', '\\\\')
    .replaceAll('|', '\\|')
    .replaceAll('\n', '↵');

const shown = (value: number): string =>
  Number.isInteger(value) ? value.toLocaleString('en-US') : String(Number(value.toPrecision(5)));

const table = (
  head: readonly [string, string],
  rows: ReadonlyArray<readonly [string, string]>,
): ReadonlyArray<string> =>
  rows.length === 0 ? [] : [`| ${head[0]} | ${head[1]} |`, '|---|---|', ...rows.map(([a, b]) => `| ${a} | ${b} |`), ''];

const numbers = (values: Readonly<Record<string, number>>): ReadonlyArray<readonly [string, string]> =>
  Object.entries(values).map(([key, value]) => [key, shown(value)] as const);

/** What one who uses it calls it. */
const idOf = ({ repoId, name }: ModelCard): string => repoId ?? name;

const python = (card: ModelCard): ReadonlyArray<string> =>
  card.adapter
    ? [
        'from peft import AutoPeftModelForCausalLM',
        'from transformers import AutoTokenizer',
        '',
        `model = AutoPeftModelForCausalLM.from_pretrained(${JSON.stringify(idOf(card))})`,
        `tokenizer = AutoTokenizer.from_pretrained(${JSON.stringify(idOf(card))})`,
      ]
    : [
        'from transformers import AutoModelForCausalLM, AutoTokenizer',
        '',
        `model = AutoModelForCausalLM.from_pretrained(${JSON.stringify(idOf(card))})`,
        `tokenizer = AutoTokenizer.from_pretrained(${JSON.stringify(idOf(card))})`,
      ];

const command = (card: ModelCard): string =>
  `rxtune generate --model ${card.adapter ? (card.baseModel ?? 'BASE') : idOf(card)}${card.adapter ? ` --adapter ${idOf(card)}` : ''} ` +
  (card.chats ? '--messages question.json' : '--prompt "…"');

/** What it is, in a sentence. */
const told = ({ adapter, baseModel, quantization, trainableParameters, totalParameters }: ModelCard): string => {
  const of = baseModel === undefined ? '' : ` of \`${baseModel}\``;
  if (quantization !== undefined)
    return `The weights${of} quantised with rxtune: ${quantization}, calibrated on the rows below.`;
  const share = ((100 * trainableParameters) / totalParameters).toPrecision(3);
  return (
    `${adapter ? 'A LoRA adapter' : 'A model'}${of}, trained by supervised fine-tuning with rxtune: ` +
    `${shown(trainableParameters)} of ${shown(totalParameters)} parameters (${share} %).`
  );
};

/** The card as Markdown, with the fields that the Hub reads at its beginning; it is made to be shown to others. */
export const modelCard = (card: ModelCard): string => {
  const { name, baseModel, baseOnHub, datasets, adapter, quantization } = card;
  const lines = [
    '---',
    ...(baseModel !== undefined && baseOnHub ? [`base_model: ${scalar(baseModel)}`] : []),
    ...list(
      'datasets',
      datasets.flatMap((dataset) => (dataset.onHub ? [dataset.name] : [])),
    ),
    `library_name: ${adapter ? 'peft' : 'transformers'}`,
    `model_name: ${scalar(name)}`,
    'pipeline_tag: text-generation',
    ...list('tags', ['rxtune', ...(quantization === undefined ? ['sft'] : ['gptq']), ...(adapter ? ['lora'] : [])]),
    '---',
    '',
    cardMark,
    '',
    `# ${name}`,
    '',
    told(card),
    '',
    '## Use',
    '',
    '```python',
    ...python(card),
    '```',
    '',
    '```sh',
    command(card),
    '```',
    '',
    '## Data',
    '',
    ...(datasets.length === 0 ? [] : [datasets.map((dataset) => `\`${dataset.name}\``).join(', '), '']),
    ...table(['rows and tokens', ''], numbers(card.data)),
    '## Results',
    '',
    ...table(['metric', ''], numbers(card.metrics)),
    '## Options',
    '',
    ...(quantization === undefined ? ['What is not listed has its default.', ''] : []),
    ...table(
      ['option', 'value'],
      Object.entries(card.options).map(([key, value]) => [`\`${key}\``, cell(value)] as const),
    ),
  ];
  return withoutSecrets(lines.join('\n'));
};
