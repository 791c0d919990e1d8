/** Which files of a repository make a model, a tokenizer or an adapter. */
import { readFile } from 'node:fs/promises';
import { fatal } from '../../errors.js';
import { adapterWeightsFile, pickledAdapterFile } from '../checkpoints/adapterFiles.js';
import { processorFiles } from '../checkpoints/processorFiles.js';
import { fileError } from '../files/byteSource.js';
import { weightFiles } from '../tensors/shards.js';
import { tokenizerFiles } from '../tokenizing/fileNames.js';
import { isInside, repoTitle } from './repo.js';
import type { Snapshot } from './snapshot.js';

/**
 * What is wanted of a repository: `model` with weights and tokenizer, `tokenizer` with config.json, or `adapter` with its
 * tokenizer.
 */
export type ModelPart = 'model' | 'tokenizer' | 'adapter';

const small: Readonly<Record<ModelPart, ReadonlyArray<string>>> = {
  // By the shape of its model the memory of a run is estimated.
  tokenizer: ['config.json', ...tokenizerFiles],
  model: ['config.json', 'generation_config.json', ...processorFiles, ...tokenizerFiles],
  adapter: ['adapter_config.json', ...tokenizerFiles],
};

/** The first of them that is there is fetched. */
const weights: Readonly<Record<Exclude<ModelPart, 'tokenizer'>, ReadonlyArray<string>>> = {
  model: weightFiles,
  adapter: [adapterWeightsFile, pickledAdapterFile],
};

const isPickle = (path: string): boolean => /^[^/]*\.(bin|pt|pth|ckpt)$/.test(path);

/** The files that an index of shards names, all of them in its own folder. */
const shardsOf = async (index: string, title: string): Promise<ReadonlyArray<string>> => {
  const text = await readFile(index, 'utf8').catch((error: unknown) => {
    throw fileError(index, error);
  });
  const wrong = (actual: string) =>
    fatal('E_SHARD_INDEX', `${title}: the index of its weights names no plain files`, { file: index, actual });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw wrong('not JSON');
  }
  const map = typeof value === 'object' && value !== null && 'weight_map' in value ? value.weight_map : undefined;
  if (typeof map !== 'object' || map === null) throw wrong('no weight_map');
  const names = [...new Set(Object.values(map).map(String))];
  const outside = names.find((name) => !isInside(name));
  if (outside !== undefined) throw wrong(JSON.stringify(outside));
  return names;
};

const noWeights = ({ repo, paths }: Snapshot, wanted: string) => {
  const title = repoTitle(repo);
  const pickled = paths.find(isPickle);
  if (pickled === undefined) {
    return fatal('E_NO_WEIGHTS', `${title} holds no weights`, {
      expected: wanted,
      actual: paths.slice(0, 12).join(', '),
    });
  }
  const local = repo.id.replace(/^.*\//, '');
  return fatal(
    'E_PICKLE_ONLY',
    `${title} holds only pickled weights (${pickled}), which can run code when they are read`,
    {
      expected: wanted,
      hint:
        `convert them once, with Python: from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; ` +
        `M.from_pretrained("${repo.id}").save_pretrained("./${local}"); T.from_pretrained("${repo.id}").save_pretrained("./${local}"); ` +
        `then use ./${local}. Or, where the Hub's converter has opened a request: ${repo.id}@refs/pr/N`,
    },
  );
};

/**
 * Downloads what belongs to the part and resolves to the directory it lies in. Pickled weights are fetched where no others are, under
 * the names that transformers and PEFT give them; files of other names are refused, never fetched.
 */
export const fetchModelFiles = async (snapshot: Snapshot, part: ModelPart): Promise<string> => {
  const has = new Set(snapshot.paths);
  const wanted = small[part].filter((path) => has.has(path));
  if (part !== 'tokenizer') {
    const found = weights[part].find((name) => has.has(name));
    // Known before anything large is fetched.
    if (found === undefined) throw noWeights(snapshot, weights[part].join(', '));
    if (found.endsWith('.json')) {
      const shards = await shardsOf(await snapshot.file(found), repoTitle(snapshot.repo));
      const missing = shards.find((name) => !has.has(name));
      if (missing !== undefined) {
        throw fatal('E_MISSING_SHARD', `${repoTitle(snapshot.repo)}: ${missing} is missing`, {
          expected: shards.join(', '),
        });
      }
      wanted.push(...shards);
    } else wanted.push(found);
  }
  for (const path of wanted) await snapshot.file(path);
  return snapshot.dir;
};
