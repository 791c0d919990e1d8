/** What each check of the preflight finds, and what it leaves alone. */
import { describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { wordTokenizer } from '../../property-tests/arbitraries/tokenizer.js';
import { makeChatTemplate } from '../../src/formats/templates/chatTemplate.js';
import type { Tokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { preflight } from '../../src/train/preflight/preflight.js';
import type { CheckName } from '../../src/train/preflight/checks.js';
import type { Preflight } from '../../src/train/preflight/preflight.js';
import { preflightFault } from '../../src/train/preflight/strict.js';

const marks =
  '{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}';

const withTemplate = (source: string): Tokenizer => {
  const made = makeChatTemplate(source, { specialTokens: { bos_token: '<s>', eos_token: '</s>' } });
  if (E.isLeft(made)) throw new Error(made.left.message);
  return { ...wordTokenizer({ addBos: true }), chatTemplate: made.right };
};

const report = (rows: ReadonlyArray<unknown>, options: SftOptions = {}, template = marks): Preflight => {
  const config = decodeSftConfig(options);
  if (E.isLeft(config)) throw config.left;
  return preflight(
    rows,
    { tokenizer: withTemplate(template) },
    { ...config.right, maxLength: options.maxLength ?? 64 },
  );
};

/** Indices of the rows that a check found. */
const found = ({ checks }: Preflight, name: CheckName): ReadonlyArray<number> =>
  checks.find((check) => check.name === name)?.examples.map(({ index }) => index) ?? [];

const talk = (answer: string) => ({
  messages: [
    { role: 'user', content: 'One?' },
    { role: 'assistant', content: answer },
  ],
});

describe('checks', () => {
  test('doubled BOS: where special tokens are forced upon a text that has one', () => {
    const rows = [{ text: '<s> a b' }, { text: 'a b' }];
    expect(found(report(rows), 'doubledBos')).toEqual([]);
    expect(found(report(rows, { addSpecialTokens: true }), 'doubledBos')).toEqual([0]);
  });

  test('stop token: EOS or the template’s end of turn, and it must be trained', () => {
    const eos = 13;
    const rows = [
      talk('Two.'),
      { text: 'a b' },
      { input_ids: [20, 21, eos], labels: [-100, 21, eos] },
      { input_ids: [20, 21, eos], labels: [-100, 21, -100] },
      { input_ids: [20, 21, 22] },
    ];
    expect(found(report(rows), 'stopNotTrained')).toEqual([3, 4]);
    // A template that writes nothing behind an answer teaches no end.
    const endless = '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}';
    expect(found(report([talk('Two.')], { assistantOnlyLoss: true }, endless), 'stopNotTrained')).toEqual([0]);
    // A mark spelt out in several tokens counts as one.
    const spelt = '{% for m in messages %}{{ m.role }}: {{ m.content }} ### END\n{% endfor %}';
    expect(found(report([talk('Two.')], { assistantOnlyLoss: true }, spelt), 'stopNotTrained')).toEqual([]);
  });

  test('a cut row counts as cut, not as one without a stop', () => {
    const cut = report([{ text: 'a b c d e f g h' }], { maxLength: 4 });
    expect([found(cut, 'truncated'), found(cut, 'stopNotTrained')]).toEqual([[0], []]);
    const asOf0710 = report([{ text: 'a b c d e f g h' }], { maxLength: 4, parity: 'trl-0.7.10' });
    expect(found(asOf0710, 'truncated')).toEqual([0]);
    expect(preflightFault(cut)?.message).toContain(
      'truncated: 1 of 1 rows cut to maxLength (100 %, at most 5 %): row 0',
    );
  });

  test('left out by the template: tools, calls and turns that it writes nothing of, each by its name', () => {
    const tools = [{ type: 'function', function: { name: 'order', parameters: {} } }];
    const call = { type: 'function', function: { name: 'order', arguments: { item: 'mug' } } };
    const calling = { role: 'assistant', content: '', tool_calls: [call] };
    const row = {
      messages: [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'A mug.' }, calling],
      tools,
    };
    const why = (template: string): ReadonlyArray<string | undefined> | undefined =>
      report([talk('Two.'), row], {}, template)
        .checks.find(({ name }) => name === 'unshown')
        ?.examples.map((example) => example.why);
    expect(why(marks)).toEqual(['tools, messages.2.tool_calls']);
    const talkative =
      '{{ tools | tojson if tools }}' +
      marks.replace(
        '{{ m.content }}',
        '{{ m.content | trim }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}',
      );
    expect(why(talkative)).toEqual([]);
    expect(why(talkative.replace('{{ m.content | trim }}', '{{ m.content if m.role != "system" }}'))).toEqual([
      'messages.0.content',
    ]);
  });

  test('an empty answer: blank, and no call either', () => {
    const call = { type: 'function', function: { name: 'order', arguments: {} } };
    const calling = {
      messages: [...talk('').messages.slice(0, 1), { role: 'assistant', content: '', tool_calls: [call] }],
    };
    const rows = [
      talk('Two.'),
      talk(' \n'),
      calling,
      { prompt: 'One?', completion: '' },
      { prompt: '', completion: 'Two.' },
    ];
    expect(found(report(rows), 'emptyAnswer')).toEqual([1, 3]);
  });

  test('asked otherwise than trained: a template that drops past turns', () => {
    const forgetful = marks.replace('{{ m.content }}', '{{ m.content if loop.revindex < 3 else "" }}');
    const long = { messages: [...talk('Two.').messages, ...talk('Four.').messages] };
    expect(found(report([talk('Two.'), long], {}, forgetful), 'promptDiffers')).toEqual([1]);
    expect(found(report([talk('Two.'), long]), 'promptDiffers')).toEqual([]);
  });

  test('nothing left to train on fails, whatever the checks say', () => {
    const none = report([]);
    expect(none).toMatchObject({ rowsRead: 0, rows: 0, passed: false });
    expect(preflightFault(none)?.message).toContain('no row is left to train on');
  });

  test('a good data set passes, and the run it makes is told', () => {
    const good = report([talk('Two.'), talk('Three.')], { perDeviceTrainBatchSize: 1, numTrainEpochs: 2 });
    expect(preflightFault(good)).toBeUndefined();
    expect(good.run).toEqual({
      steps: 4,
      epochs: 2,
      tokens: 2 * good.tokens,
      trainedTokens: 2 * good.trainedTokens,
    });
  });
});

test('the format: what each row was taken for, and the columns of the first that is nothing', () => {
  const { formats, recognised, unrecognised } = report([
    { prompt: 'a', completion: 'b' },
    { question: 'q', anwser: 'a' },
  ]);
  expect(formats).toEqual({ 'prompt/completion': 1, none: 1 });
  expect(recognised?.format).toBe('prompt/completion');
  const close = unrecognised?.shapes.find(({ format }) => format === 'question/answer');
  expect(close?.columns).toEqual([
    { names: ['question'], expected: 'a string', actual: 'a string', ok: true },
    { names: ['answer'], expected: 'a string', actual: 'missing', ok: false },
  ]);
});
