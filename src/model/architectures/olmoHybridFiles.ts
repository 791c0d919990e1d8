/**
 * How files hold OLMo Hybrid's layers of the delta rule: the convolutions of queries, keys and values apart, and norms under names of
 * their own.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as A from 'fp-ts/lib/ReadonlyArray.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { madeTensor } from '../../formats/tensors/madeTensor.js';
import type { TensorToWrite } from '../../formats/tensors/safetensors.js';
import type { StoredTensor } from '../../formats/tensors/storedTensor.js';
import type { FileLayout } from '../architecture.js';
import { floatsOf } from '../stored/floatsOf.js';

/** The convolution of layer `i`, whose channels are those of queries, keys and values. */
export const convName = (i: number): string => `model.layers.${i}.linear_attn.conv1d`;

const partNames = (i: number): ReadonlyArray<string> =>
  ['q', 'k', 'v'].map((part) => `model.layers.${i}.linear_attn.${part}_conv1d.weight`);

/** Of layers of the delta rule; transformers writes the second in the other layers, too. */
const normNames: ReadonlyArray<readonly [inFiles: string, here: string]> = [
  ['attention_layer_norm', 'input_layernorm'],
  ['feedforward_layer_norm', 'post_attention_layernorm'],
];

const normHere = (name: string): string =>
  normNames.reduce((own, [inFiles, here]) => own.replace(`.${inFiles}.`, `.${here}.`), name);

const joined = (name: string, parts: ReadonlyArray<StoredTensor>): ReadonlyArray<StoredTensor> => {
  const [first] = parts;
  if (first === undefined || parts.some(({ dtype }) => dtype !== first.dtype)) return parts;
  const channels = parts.reduce((sum, { shape: [rows = 0] }) => sum + rows, 0);
  const what = { name, dtype: first.dtype, shape: [channels, ...first.shape.slice(1)], file: first.file };
  return [
    madeTensor(what, (allocate) =>
      pipe(
        parts,
        A.traverse(TE.ApplicativeSeq)((part) => part.readBytes()),
        TE.map((all) => {
          const to = allocate(all.reduce((sum, bytes) => sum + bytes.length, 0));
          let at = 0;
          for (const bytes of all) {
            to.set(bytes, at);
            at += bytes.length;
          }
          return to;
        }),
      ),
    ),
  ];
};

/** The convolution as files have it: of queries, keys and values, so many channels each. */
const apart = (i: number, whole: TensorToWrite, channels: ReadonlyArray<number>): ReadonlyArray<TensorToWrite> => {
  const taps = whole.shape[whole.shape.length - 1] ?? 1;
  return partNames(i).map((name, part) => {
    const rows = channels[part] ?? 0;
    const first = channels.slice(0, part).reduce((sum, before) => sum + before, 0) * taps;
    return {
      name,
      dtype: 'F32',
      shape: [rows, 1, taps],
      data: async () => (await floatsOf(whole)).slice(first, first + rows * taps),
    };
  });
};

/** Reads either way of files; writes that of the published ones. `recurs`: one a layer, whether it has the delta rule. */
export const olmoHybridFiles = (
  recurs: ReadonlyArray<boolean>,
  { keys, values }: { readonly keys: number; readonly values: number },
): FileLayout => {
  const layers = recurs.flatMap((does, i) => (does ? [i] : []));
  return {
    read: (tensors) => {
      const all = new Map(Array.from(tensors, ([name, tensor]) => [normHere(name), tensor]));
      for (const i of layers) {
        const parts = partNames(i).flatMap((name) => all.get(name) ?? []);
        if (parts.length !== 3) continue;
        for (const name of partNames(i)) all.delete(name);
        for (const one of joined(`${convName(i)}.weight`, parts)) all.set(one.name, one);
      }
      return E.right(all);
    },
    write: (tensors) => {
      const convolutions = new Map(layers.map((i) => [`${convName(i)}.weight`, i]));
      return tensors.flatMap((tensor) => {
        const i = convolutions.get(tensor.name);
        if (i !== undefined) return apart(i, tensor, [keys, keys, values]);
        const [, layer] = /^model\.layers\.(\d+)\./.exec(tensor.name) ?? [];
        if (layer === undefined || recurs[Number(layer)] !== true) return [tensor];
        const name = normNames.reduce((own, [inFiles, here]) => own.replace(`.${here}.`, `.${inFiles}.`), tensor.name);
        return [{ ...tensor, name }];
      });
    },
  };
};
