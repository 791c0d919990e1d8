// The instruction sets that the kernels are compiled for, best first, each with its compiler flags.
import { arch } from 'node:process';
import { readFileSync } from 'node:fs';

const x64 = [
  { name: 'avx512', flags: ['-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl', '-mavx2', '-mfma', '-mf16c'], cpu: ['avx512f', 'avx512bw', 'avx512dq', 'avx512vl'],
    // kernels that need more than the others, present only where the processor has that too
    extra: { gemm_bf16: { flags: ['-mavx512bf16'], cpu: ['avx512_bf16'] } } },
  { name: 'avx2', flags: ['-mavx2', '-mfma', '-mf16c'], cpu: ['avx2', 'fma', 'f16c'] },
  { name: 'portable', flags: [], cpu: [] },
];
const other = [{ name: 'portable', flags: [], cpu: [] }];

export const isas = arch === 'x64' ? x64 : other;

/** What /proc/cpuinfo says this processor has; empty where there is no such file. */
export const cpuFlags = () => {
  try {
    return new Set(/^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.trim().split(/\s+/) ?? []);
  } catch {
    return new Set();
  }
};
