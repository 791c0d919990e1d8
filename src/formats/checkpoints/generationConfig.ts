/** generation_config.json: how a model is to be sampled, kept as it stands. */
import { join } from 'node:path';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { readJson } from '../json/json.js';
import { isJsonRecord } from '../json/jsonRecord.js';
import { parseJsonExactly } from '../json/writtenNumbers.js';

export const generationConfigFile = 'generation_config.json';

export type GenerationConfig = Readonly<Record<string, unknown>>;

/** The file of a model's directory; undefined where there is none. `E_GENERATION_CONFIG` when it is no JSON object. */
export const readGenerationConfig = (dir: string): TaskEither<FatalError, GenerationConfig | undefined> => {
  const file = join(dir, generationConfigFile);
  return pipe(
    readJson(file, { parse: parseJsonExactly }),
    TE.flatMap((value) =>
      isJsonRecord(value)
        ? TE.right<FatalError, GenerationConfig | undefined>(value)
        : TE.left(fatal('E_GENERATION_CONFIG', 'not a JSON object', { file, hint: 'mend the file, or remove it' })),
    ),
    TE.orElse((error) => (error.code === 'E_NO_FILE' ? TE.right(undefined) : TE.left(error))),
  );
};

/** Ids that end a text, as the file has them: one, several or none. */
export const generationEosIds = (config: GenerationConfig | undefined): ReadonlyArray<number> => {
  const eos = config?.['eos_token_id'];
  const all: ReadonlyArray<unknown> = Array.isArray(eos) ? eos : [eos];
  return all.filter((id): id is number => typeof id === 'number' && Number.isInteger(id));
};
