/** TensorBoard's event files: the format by an own reader, and what a run writes into them. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { lastValueFrom } from 'rxjs';
import { orThrow } from '../../src/errors.js';
import { crc32c, eventRecord, masked } from '../../src/formats/tfEvents.js';
import { chooseEngine } from '../../src/train/engine.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import { tensorBoardLog } from '../../src/train/logging/tensorboard.js';
import { sftTrainer } from '../../src/train/trainer.js';
import { tinyModel } from '../../property-tests/train/tiny.js';

beforeAll(async () => {
  await orThrow(chooseEngine());
});
const dir = mkdtempSync(join(tmpdir(), 'rxtune-tensorboard-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

type Fields = ReadonlyMap<number, ReadonlyArray<number | Uint8Array>>;

/** A protocol buffer as its fields by number: numbers, or the bytes of what is nested. */
const fieldsOf = (bytes: Uint8Array): Fields => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const fields = new Map<number, Array<number | Uint8Array>>();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let power = 1; ; power *= 128) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 0x7f) * power;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    let value: number | Uint8Array;
    switch (key & 7) {
      case 0:
        value = varint();
        break;
      case 1:
        value = view.getFloat64(at, true);
        at += 8;
        break;
      case 5:
        value = view.getFloat32(at, true);
        at += 4;
        break;
      default: {
        const length = varint();
        value = bytes.subarray(at, at + length);
        at += length;
      }
    }
    fields.set(key >> 3, [...(fields.get(key >> 3) ?? []), value]);
  }
  return fields;
};

const text = (value: number | Uint8Array | undefined): string =>
  value instanceof Uint8Array ? new TextDecoder().decode(value) : '';
const nested = (value: number | Uint8Array | undefined): Fields =>
  value instanceof Uint8Array ? fieldsOf(value) : new Map<number, ReadonlyArray<number | Uint8Array>>();

interface Read {
  readonly wallTime: number;
  readonly step: number;
  readonly version: string;
  readonly scalars: Readonly<Record<string, number>>;
  readonly texts: Readonly<Record<string, string>>;
  readonly restarts: boolean;
}

/** The events of a file's bytes, every checksum looked at. */
const eventsOf = (bytes: Uint8Array): ReadonlyArray<Read> => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const events: Array<Read> = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(view.getBigUint64(at, true));
    expect(view.getUint32(at + 8, true)).toBe(masked(crc32c(bytes.subarray(at, at + 8))));
    const body = bytes.subarray(at + 12, at + 12 + length);
    expect(view.getUint32(at + 12 + length, true)).toBe(masked(crc32c(body)));
    const event = fieldsOf(body);
    const values = (nested(event.get(5)?.[0]).get(1) ?? []).map(nested);
    events.push({
      wallTime: Number(event.get(1)?.[0]),
      step: Number(event.get(2)?.[0] ?? 0),
      version: text(event.get(3)?.[0]),
      scalars: Object.fromEntries(
        values.flatMap((value) => (value.has(2) ? [[text(value.get(1)?.[0]), Number(value.get(2)?.[0])]] : [])),
      ),
      texts: Object.fromEntries(
        values.flatMap((value) =>
          value.has(8) ? [[text(value.get(1)?.[0]), text(nested(value.get(8)?.[0]).get(8)?.[0])]] : [],
        ),
      ),
      restarts: event.has(7),
    });
    at += 16 + length;
  }
  return events;
};

const fileIn = (folder: string): Uint8Array => {
  const [name = ''] = readdirSync(folder);
  expect(name).toMatch(/^events\.out\.tfevents\.\d{10}\./);
  return readFileSync(join(folder, name));
};

describe('the format', () => {
  // RFC 3720, B.4; and the check value of the CRC catalogue.
  test.each([
    [new Uint8Array(32), 0x8a9136aa],
    [new Uint8Array(32).fill(0xff), 0x62a8ab43],
    [Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    [new TextEncoder().encode('123456789'), 0xe3069283],
  ])('CRC-32C %#', (bytes, expected) => expect(crc32c(bytes)).toBe(expected));

  test('an event reads back as it was, whatever is in it', () => {
    const tag = fc.string({ minLength: 1 }).filter((name) => name !== '__proto__');
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 4e9, noNaN: true }),
        fc.nat(2 ** 31 - 1),
        fc.dictionary(tag, fc.float({ noNaN: true })),
        fc.dictionary(tag, fc.string({ unit: 'grapheme' })),
        (wallTime, step, scalars, texts) => {
          const [event] = eventsOf(eventRecord({ wallTime, step, scalars, texts }));
          expect(event).toMatchObject({ wallTime, step });
          expect(Object.entries(event?.scalars ?? {})).toEqual(Object.entries(scalars));
          expect(Object.entries(event?.texts ?? {})).toEqual(Object.entries(texts));
        },
      ),
    );
  });
});

test('rows go under the tags of transformers, answers as text, and a resumed run says where it goes on', async () => {
  const folder = join(dir, 'rows');
  const log = tensorBoardLog({ dir: folder, now: () => 1_700_000_000_500 });
  await orThrow(log.cut(4));
  await orThrow(log.write('log', { step: 5, epoch: 0.5, loss: 1.25, learning_rate: 0.5 }));
  await orThrow(log.write('evaluations', { step: 5, eval_loss: 2.5, eval_role_user_loss: 3 }));
  await orThrow(log.write('samples', { step: 5, row: 3, prompt: 'Hi', text: 'a\nb', expected: 'c' }));
  await log.close();
  const [version, restart, train, evaluation, sample] = eventsOf(fileIn(folder));
  expect(version).toMatchObject({ version: 'brain.Event:2', wallTime: 1_700_000_000.5 });
  expect(restart).toMatchObject({ restarts: true, step: 5 });
  expect(train?.scalars).toEqual({ 'train/epoch': 0.5, 'train/loss': 1.25, 'train/learning_rate': 0.5 });
  expect(evaluation?.scalars).toEqual({ 'eval/loss': 2.5, 'eval/role_user_loss': 3 });
  expect(sample?.texts).toEqual({
    'samples/row 3': '**prompt**\n\n    Hi\n\n**text**\n\n    a\n    b\n\n**expected**\n\n    c',
  });
});

test('a run that is asked to writes what its log says', async () => {
  const outputDir = join(dir, 'run');
  const rows = Array.from({ length: 4 }, (_, i) => ({ input_ids: [1, 2, 3, 4 + i] }));
  await lastValueFrom(
    sftTrainer(
      { model: await tinyModel(), trainDataset: rows, evalDataset: rows },
      { outputDir, reportTo: ['tensorboard'], maxSteps: 3, evalSteps: 3, saveStrategy: 'no', maxLength: 8 },
    ),
  );
  const events = eventsOf(fileIn(join(outputDir, 'runs')));
  const lines = readFileSync(join(outputDir, 'log.jsonl'), 'utf8').trimEnd().split('\n');
  const losses = lines.map((line) => (JSON.parse(line) as { readonly loss: number }).loss);
  expect(events.flatMap(({ scalars }) => scalars['train/loss'] ?? [])).toEqual(losses.map(Math.fround));
  expect(events.filter(({ scalars }) => 'eval/loss' in scalars).map(({ step }) => step)).toEqual([3]);
});

test.each([
  [{ reportTo: 'tensorboard' }, 'reportTo needs a place'],
  [{ reportTo: ['wandb'], outputDir: 'x' }, 'one of none, all, tensorboard'],
])('%j is refused', (options, message) => {
  const decoded = decodeSftConfig(options);
  expect(decoded).toMatchObject({ _tag: 'Left', left: { kind: 'usage' } });
  expect(JSON.stringify(decoded) + String(Reflect.get(decoded, 'left'))).toContain(message);
});
