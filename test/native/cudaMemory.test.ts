/** What a run on a card is estimated to need, beside what the emulated card's engine had at most: real shapes, of which nothing is computed. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { modelConfig } from '../../src/model/architectures.js';
import { registerNative } from '../../src/native/register.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { estimateMemory } from '../../src/train/memory/fitMemory.js';

const root = resolve(import.meta.dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'rxtune-card-memory-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const built = process.platform === 'linux' && E.isRight(registerNative({ threads: 1 }));
const whenBuilt = built ? describe : describe.skip;

const right = <A>(found: E.Either<unknown, A>): A => {
  if (E.isLeft(found)) throw found.left;
  return found.right;
};

const [batch, seq] = [4, 2048];
const adapter: SftOptions = { usePeft: true, r: 16, targetModules: 'all-linear' };
const modes: Readonly<Record<string, SftOptions>> = {
  full: {},
  lora: adapter,
  qlora: { ...adapter, loadIn4bit: true, bnb4bitQuantType: 'nf4', bnb4bitUseDoubleQuant: true },
};

whenBuilt('memory of a card', () => {
  let variables: Readonly<Record<string, string>> = {};
  beforeAll(() => {
    const mock = execFileSync(process.execPath, [join(root, 'native', 'cuda', 'compile.mjs'), 'mock'], {
      encoding: 'utf8',
    }).trim();
    variables = {
      RXTUNE_LIBCUDA: mock,
      RXTUNE_LIBCUBLASLT: mock,
      RXTUNE_CUDA_KERNELS: join(root, 'native', 'build', 'cuda', 'emulated.image'),
      // Named, it is not checked first: nothing is computed here.
      RXTUNE_CUDA_ATTENTION: 'wgmma',
      RXTUNE_MOCK_COUNT: join(folder, 'count.json'),
      RXTUNE_MOCK_MEMORY: String(2 ** 40),
    };
  });

  it.each([
    ['llama-1.1b', 'lora', 2, false],
    ['llama-1.1b', 'lora', 5, false],
    ['llama-1.1b', 'lora', 5, true],
    ['llama-1.1b', 'qlora', 3, false],
    ['llama-1.1b', 'full', 3, false],
    ['llama-1.1b', 'full', 5, true],
    ['gpt2-124m', 'lora', 3, false],
    ['gpt2-124m', 'full', 3, false],
  ] as const)('%s, %s, %i layers, checkpointing %s', (shape, mode, layers, checkpointing) => {
    const program = join(root, 'bench', 'ours', 'card.mjs');
    const said = execFileSync(
      process.execPath,
      [
        program,
        ...['--shape', shape, '--mode', mode, '--layers', String(layers), '--batch', String(batch)],
        ...['--seq', String(seq), '--folder', folder, ...(checkpointing ? ['--checkpointing'] : [])],
      ],
      { encoding: 'utf8', env: { ...process.env, ...variables } },
    );
    const { peak } = JSON.parse(said) as { readonly peak: number };
    const raw: unknown = JSON.parse(readFileSync(join(folder, `${shape}-${layers}`, 'config.json'), 'utf8'));
    const options = { precision: 'bfloat16', engine: 'native', gradientCheckpointing: checkpointing } as const;
    const config = right(decodeSftConfig({ ...options, ...modes[mode] }));
    const card = (): { bytes: number; source: string; onCard: boolean } => ({
      bytes: 2 ** 40,
      source: 'a card',
      onCard: true,
    });
    const { need } = estimateMemory(right(modelConfig(raw)), config, batch * seq, card);
    const ratio = need.peak / peak;
    expect(ratio).toBeGreaterThan(0.97);
    expect(ratio).toBeLessThan(1.12);
  });
});
