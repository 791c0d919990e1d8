/** Faults of small files and of the Hub that other tests do not come by. */
import { mkdirSync, truncateSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { fatal } from '../../src/errors.js';
import { readGenerationConfig } from '../../src/formats/checkpoints/generationConfig.js';
import { thrownFatal } from '../../src/formats/hub/locate.js';
import { requested } from '../../src/formats/hub/request.js';
import { readText } from '../../src/formats/json/json.js';
import { readSafetensors } from '../../src/formats/tensors/safetensors.js';
import { fileIn, temporaryDirectory } from './temporary.js';

const dir = temporaryDirectory();

test('a file far too long for what it should be is not read', async () => {
  // Mostly a hole: it takes no room on the disk.
  const file = fileIn(dir, 'config.json', '{');
  truncateSync(file, 300 * 2 ** 20);
  expect(await readText(file)()).toMatchObject({ left: { code: 'E_FILE_TOO_LONG', details: { file } } });
});

test('a tensor larger than the memory is refused when it is read, and no sooner', async () => {
  const bytes = 2 ** 42;
  const header = JSON.stringify({ huge: { dtype: 'U8', shape: [bytes], data_offsets: [0, bytes] } });
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  const file = fileIn(dir, 'huge.safetensors', Buffer.concat([size, Buffer.from(header)]));
  truncateSync(file, 8 + header.length + bytes);
  const opened = await readSafetensors(file)();
  if (opened._tag === 'Left') throw opened.left;
  expect(await opened.right.tensors.get('huge')?.readBytes()()).toMatchObject({ left: { code: 'E_TENSOR_TOO_LARGE' } });
});

test('generation_config.json is an object, or absent', async () => {
  const home = join(dir, 'model');
  mkdirSync(home);
  expect(await readGenerationConfig(home)()).toMatchObject({ _tag: 'Right', right: undefined });
  fileIn(home, 'generation_config.json', '[1]');
  expect(await readGenerationConfig(home)()).toMatchObject({ left: { code: 'E_GENERATION_CONFIG' } });
});

test('what is thrown on the way to a model and is no error of ours becomes one', () => {
  const own = fatal('E_NO_WEIGHTS', 'none');
  expect(thrownFatal(own)).toBe(own);
  expect(thrownFatal(new Error('out of the blue'))).toMatchObject({ code: 'E_HUB', message: 'out of the blue' });
});

test('a file that the Hub does not have is named', async () => {
  const server = createServer((_, response) => void response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end());
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    await expect(
      requested(
        () => ({ url: `${endpoint}/a/b`, what: 'a/b: c.json' }),
        { endpoint, cacheDir: dir, offline: false },
        () => Promise.resolve('answered'),
      ),
    ).rejects.toMatchObject({ code: 'E_HUB_NO_FILE', message: 'a/b: c.json: there is no such file' });
  } finally {
    server.close();
  }
});
