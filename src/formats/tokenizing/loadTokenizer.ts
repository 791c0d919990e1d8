/** The tokenizer of a directory, or of a name on the Hub. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isLeft, left } from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { locateModel } from '../hub/locate.js';
import type { Located } from '../hub/locate.js';
import type { HubSettings } from '../hub/settings.js';
import { tokenizerFiles } from './fileNames.js';
import { tokenizerOfFiles } from './tokenizer.js';
import type { Tokenizer } from './tokenizer.js';

const tokenizerIn =
  (dir: string): TaskEither<FatalError, Tokenizer> =>
  async () => {
    const files: Record<string, string> = {};
    try {
      const present = new Set(await readdir(dir));
      for (const name of tokenizerFiles) if (present.has(name)) files[name] = await readFile(join(dir, name), 'utf8');
    } catch (cause) {
      return left(
        fatal('E_TOKENIZER_MISSING', 'the directory of the tokenizer cannot be read', {
          file: dir,
          cause,
          actual: cause instanceof Error ? cause.message : String(cause),
        }),
      );
    }
    const loaded = tokenizerOfFiles(files);
    if (!isLeft(loaded)) return loaded;
    const { code, message, details, kind } = loaded.left;
    const file = details.file === undefined ? dir : join(dir, details.file);
    return left(fatal(code, message, { ...details, kind, file, cause: loaded.left.cause }));
  };

/**
 * The tokenizer of a model directory, or of a name on the Hub (`owner/name`, see `locateModel`). Errors: E_TOKENIZER_MISSING when
 * the directory or the files are not there, E_TOKENIZER_INVALID, E_TOKENIZER_UNSUPPORTED, and those of the Hub (E_HUB_…).
 */
export const loadTokenizer = (
  name: string,
  { hub }: { readonly hub?: Partial<HubSettings> | undefined } = {},
): TaskEither<FatalError, Tokenizer> =>
  TE.flatMap(({ dir }: Located) => tokenizerIn(dir))(locateModel(name, 'tokenizer', hub));
