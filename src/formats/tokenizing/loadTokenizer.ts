/** The tokenizer of a directory, or of a name on the Hub. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isLeft, left } from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { checked } from '../../checked.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { codeOf, fileError, saidBySystem } from '../files/byteSource.js';
import { locateModel } from '../hub/locate.js';
import type { Located } from '../hub/locate.js';
import type { HubSettings } from '../hub/settings.js';
import { tokenizerFiles } from './fileNames.js';
import { tokenizerOfFiles } from './tokenizer.js';
import type { Tokenizer } from './tokenizer.js';
import { hubSettingNames } from '../hub/settings.js';

const tokenizerIn =
  (dir: string): TaskEither<FatalError, Tokenizer> =>
  async () => {
    const files: Record<string, string> = {};
    let path = dir;
    try {
      const present = new Set(await readdir(dir));
      for (const name of tokenizerFiles) {
        path = join(dir, name);
        if (present.has(name)) files[name] = await readFile(path, 'utf8');
      }
    } catch (cause) {
      // Files that are there and cannot be read are not missing: those who do without a tokenizer must not take it so.
      return left(
        path === dir && /^(ENOENT|ENOTDIR)$/.test(codeOf(cause))
          ? fatal('E_TOKENIZER_MISSING', 'the directory of the tokenizer cannot be read', {
              file: dir,
              cause,
              actual: saidBySystem(cause),
            })
          : fileError(path, cause),
      );
    }
    const loaded = tokenizerOfFiles(files);
    if (!isLeft(loaded)) return loaded;
    const { code, message, details, kind } = loaded.left;
    const file = details.file === undefined ? dir : join(dir, details.file);
    return left(fatal(code, message, { ...details, kind, file, cause: loaded.left.cause }));
  };

/** Where a tokenizer is found. */
export interface LoadTokenizerOptions {
  /** Where the Hub is and its files are kept; what is left out is as the environment says. */
  readonly hub?: Partial<HubSettings> | undefined;
}

/**
 * The tokenizer of a model directory, or of a name on the Hub (`owner/name`, see `locateModel`). Errors: E_TOKENIZER_MISSING when
 * the directory or the files are not there, E_TOKENIZER_INVALID, E_TOKENIZER_UNSUPPORTED, and those of the Hub (E_HUB_…).
 */
export const loadTokenizer = checked(
  'loadTokenizer',
  TE.left,
  { 1: { hub: hubSettingNames } },
  (name: string, { hub }: LoadTokenizerOptions = {}): TaskEither<FatalError, Tokenizer> =>
    TE.flatMap(({ dir }: Located) => tokenizerIn(dir))(locateModel(name, { part: 'tokenizer', hub })),
);
