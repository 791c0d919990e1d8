/** Arguments of transformers' from_pretrained: done, accepted where they change nothing, or refused with what to do. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { ignoredArguments, loaderArguments } from '../../src/train/options/loaderArguments.js';
import { fromModelInitKwargs } from '../../src/train/options/modelInitKwargs.js';

const root = resolve(import.meta.dirname, '..', '..');

test.each([
  {},
  { use_cache: false, low_cpu_mem_usage: true, device_map: 'auto', return_dict: true, use_safetensors: true },
  { trust_remote_code: false, revision: 'main', token: false, weights_only: true, subfolder: '', proxies: {} },
  { revision: null, variant: null, cache_dir: null, token: null, max_memory: null, quantization_config: null },
  { local_files_only: false, force_download: false, output_attentions: false, ignoreMismatchedSizes: false },
])('%j asks for nothing', (kwargs) => {
  expect(fromModelInitKwargs(kwargs)).toEqual(E.right({}));
});

test.each([
  [{ revision: 'v2' }, 'revision', 'owner/name@revision'],
  [{ token: 'a-secret' }, 'token', 'HF_TOKEN'],
  [{ use_auth_token: true }, 'useAuthToken', 'HF_TOKEN'],
  [{ cache_dir: '/tmp' }, 'cacheDir', 'HF_HUB_CACHE'],
  [{ local_files_only: true }, 'localFilesOnly', 'HF_HUB_OFFLINE=1'],
  [{ subfolder: 'unet' }, 'subfolder', 'folder'],
  [{ variant: 'fp16' }, 'variant', 'model.safetensors'],
  [{ weights_only: false }, 'weightsOnly', 'leave it out'],
  [{ max_memory: { 0: '10GB' } }, 'maxMemory', 'GiB'],
  [{ state_dict: {} }, 'stateDict', 'modelInit'],
  [{ pad_token_id: 0 }, 'padTokenId', 'config.json'],
  [{ output_hidden_states: true }, 'outputHiddenStates', 'leave it out'],
  [{ revison: 'v2' }, 'revison', 'did you mean "revision"?'],
])('%j is refused, and what to do is said', (kwargs, field, hint) => {
  const result = fromModelInitKwargs(kwargs);
  expect(result).toMatchObject({
    left: {
      code: 'E_OPTIONS',
      kind: 'usage',
      details: { field: `modelInitKwargs.${field}`, hint: expect.stringContaining(hint) },
    },
  });
  // A secret is never repeated.
  expect(E.isLeft(result) ? JSON.stringify([result.left.message, result.left.details]) : '').not.toContain('a-secret');
});

test("what BitsAndBytesConfig's to_dict writes is its options", () => {
  const written = {
    quant_method: 'bitsandbytes',
    _load_in_8bit: false,
    _load_in_4bit: true,
    llm_int8_threshold: 6,
    llm_int8_skip_modules: null,
    llm_int8_enable_fp32_cpu_offload: false,
    llm_int8_has_fp16_weight: false,
    bnb_4bit_quant_type: 'nf4',
    bnb_4bit_use_double_quant: true,
    bnb_4bit_compute_dtype: 'torch.bfloat16',
    bnb_4bit_quant_storage: 'uint8',
    load_in_4bit: true,
    load_in_8bit: false,
  };
  expect(fromModelInitKwargs({ quantization_config: written })).toEqual(
    E.right({
      llmInt8Threshold: 6,
      bnb4bitQuantType: 'nf4',
      bnb4bitUseDoubleQuant: true,
      bnb4bitComputeDtype: 'bfloat16',
      loadIn4bit: true,
      loadIn8bit: false,
    }),
  );
});

describe('the page on models', () => {
  const page = readFileSync(join(root, 'docs', 'models.md'), 'utf8');
  const section = page.slice(page.indexOf('## Arguments of'), page.indexOf('## Conversations'));
  const named = new Set(Array.from(section.matchAll(/`([a-z0-9_]+)`/g), ([, name = '']) => name));
  const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

  test('names every argument that is accepted, and none that is not known', () => {
    const accepting = Object.entries(loaderArguments).filter(([, { accepts }]) => accepts(false) || accepts(''));
    for (const name of [...ignoredArguments, ...accepting.map(([key]) => key)])
      if (!/^(tp|device_m|distributed)/.test(snake(name))) expect([name, named.has(snake(name))]).toEqual([name, true]);
    const unknown = [...named].filter((name) => {
      const result = fromModelInitKwargs({ [name]: null });
      return E.isLeft(result) && result.left.message.startsWith('unknown');
    });
    expect(unknown).toEqual(['from_pretrained', 'null', 'float32', 'bfloat16', 'auto', 'false', 'main', 'true']);
  });
});
