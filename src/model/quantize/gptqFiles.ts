/** GPTQ weights as AutoGPTQ and transformers load them. */
import type { TensorToWrite } from '../../formats/safetensors.js';
import type { GptqMatrix, GptqOptions } from './gptq.js';

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Whether a matrix [outputs, inputs] fills whole 32-bit words both ways, as the format needs. */
export const fitsGptq = ([rows, columns]: readonly [number, number], bits: number): boolean =>
  rows % (32 / bits) === 0 && columns % (32 / bits) === 0;

/** Input-major: value (i, o) in word [i / perWord, o], lower inputs in lower bits. */
const packInputs = ({ shape: [rows, n], bits, codes }: GptqMatrix): Int32Array => {
  const perWord = 32 / bits;
  const words = new Int32Array((n / perWord) * rows);
  for (let i = 0; i < n; i++)
    for (let row = 0; row < rows; row++) {
      const at = Math.floor(i / perWord) * rows + row;
      words[at] = (words[at] ?? 0) | ((codes[row * n + i] ?? 0) << (bits * (i % perWord)));
    }
  return words;
};

/** Zeros less 1, outputs packed into words. */
const packZeros = ({ shape: [rows], bits, zero }: GptqMatrix): Int32Array => {
  const perWord = 32 / bits;
  const words = new Int32Array(zero.length / perWord);
  zero.forEach((value, at) => {
    const [group, row] = [Math.floor(at / rows), at % rows];
    const word = group * (rows / perWord) + Math.floor(row / perWord);
    words[word] = (words[word] ?? 0) | ((value - 1) << (bits * (row % perWord)));
  });
  return words;
};

/** The tensors of a module whose weight is `matrix`; its bias stays as it is. */
export const gptqTensors = (module: string, matrix: GptqMatrix): ReadonlyArray<TensorToWrite> => {
  const {
    shape: [rows, n],
    bits,
    scale,
    groupIndex,
  } = matrix;
  const groups = scale.length / rows;
  const perWord = 32 / bits;
  return [
    { name: `${module}.qweight`, dtype: 'I32', shape: [n / perWord, rows], data: () => bytesOf(packInputs(matrix)) },
    { name: `${module}.qzeros`, dtype: 'I32', shape: [groups, rows / perWord], data: () => bytesOf(packZeros(matrix)) },
    { name: `${module}.scales`, dtype: 'F16', shape: [groups, rows], data: scale },
    { name: `${module}.g_idx`, dtype: 'I32', shape: [n], data: bytesOf(groupIndex) },
  ];
};

/** `quantization_config` of config.json; quantize_config.json holds the same. */
export const gptqConfig = ({
  bits,
  groupSize,
  descAct,
  sym,
  dampPercent,
}: GptqOptions): Readonly<Record<string, unknown>> => ({
  bits,
  checkpoint_format: 'gptq',
  damp_percent: dampPercent,
  desc_act: descAct,
  group_size: groupSize,
  lm_head: false,
  quant_method: 'gptq',
  static_groups: false,
  sym,
  true_sequential: false,
});
