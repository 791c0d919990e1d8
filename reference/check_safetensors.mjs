// Reads what the reference implementation wrote, writes it again, and lets Python compare; rounding is held against torch.
// PYTHON=… node reference/check_safetensors.mjs   (after npm run build:ts; RXTUNE_DIST names another build)
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const dist = resolve(process.env.RXTUNE_DIST ?? join(import.meta.dirname, '..', 'dist'));
const { readSafetensors, writeSafetensors } = await import(join(dist, 'formats/tensors/safetensors.js'));
const { float32ToBfloat16, float32ToFloat16 } = await import(join(dist, 'formats/tensors/float16.js'));
const python = process.env.PYTHON ?? 'python3';
const script = join(import.meta.dirname, 'check_safetensors.py');
const dir = mkdtempSync(join(tmpdir(), 'rxtune-safetensors-'));
const right = async (task) => {
  const result = await task();
  if (result._tag === 'Left') throw result.left;
  return result.right;
};

let exit = 0;
try {
  execFileSync(python, [script, 'make', dir], { stdio: 'inherit' });
  const { tensors, metadata } = await right(readSafetensors(join(dir, 'theirs.safetensors')));
  // Once as bytes, once through float32 where the dtype is a float.
  await right(
    writeSafetensors(
      join(dir, 'bytes.safetensors'),
      [...tensors.values()].map(({ name, dtype, shape, readBytes }) => ({
        name,
        dtype,
        shape,
        data: () => right(readBytes()),
      })),
      { metadata },
    ),
  );
  await right(
    writeSafetensors(
      join(dir, 'floats.safetensors'),
      [...tensors.values()].map(({ name, dtype, shape, read, readBytes }) => ({
        name,
        dtype,
        shape,
        data: () => right(['F32', 'BF16', 'F16'].includes(dtype) ? read() : readBytes()),
      })),
      { metadata },
    ),
  );
  writeFileSync(join(dir, 'written.json'), JSON.stringify(['bytes.safetensors', 'floats.safetensors']));
  execFileSync(python, [script, 'check', dir], { stdio: 'inherit' });
  const same = readFileSync(join(dir, 'bytes.safetensors')).equals(readFileSync(join(dir, 'theirs.safetensors')));

  const rounded = (await right(readSafetensors(join(dir, 'rounded.safetensors')))).tensors;
  const f32 = await right(rounded.get('f32').read());
  const differences = {};
  for (const [name, narrow] of [
    ['bf16', float32ToBfloat16],
    ['f16', float32ToFloat16],
  ]) {
    const bytes = await right(rounded.get(name).readBytes());
    const theirs = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
    differences[name] = narrow(f32).reduce((count, bits, i) => count + (bits === theirs[i] ? 0 : 1), 0);
  }
  if (!same || differences.bf16 > 0 || differences.f16 > 0) exit = 1;
  console.log(JSON.stringify({ identicalBytes: same, rounded: f32.length, differences }));
} finally {
  rmSync(dir, { recursive: true });
}
process.exit(exit);
