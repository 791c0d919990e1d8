/** What a text is continued with: one pass through the model for all texts that wait for theirs. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { KvCache } from './attention/cachedAttention.js';
import { adaptersOf, logitsOf } from './causalLm.js';
import type { CausalLM } from './model.js';

/** The tokens of a text that the model has not read yet. */
export interface Unread {
  /** At least one, each below the vocabulary's size. */
  readonly inputIds: Int32Array;
  /** Position of the first of them. */
  readonly start: number;
  /** What is kept of those before; untouched by others until the logits are there. */
  readonly cache: KvCache;
}

interface Waiting {
  readonly text: Unread;
  readonly resolve: (logits: Float32Array) => void;
  readonly reject: (cause: unknown) => void;
}

/** Tokens that a pass reads at most, unless one text alone has more: activations lie in memory for each of them. */
const mostTokens = 2048;

/** Those that wait, by the model that they wait for. */
const queues = new WeakMap<CausalLM, Array<Waiting>>();

const turn = (): Promise<void> =>
  new Promise((done) => {
    if (typeof setImmediate === 'function') setImmediate(done);
    else setTimeout(done, 0);
  });

/** Takes the texts of the next pass out of the queue, those that wait longest first. */
const taken = (queue: Array<Waiting>): ReadonlyArray<Waiting> => {
  let tokens = 0;
  const beyond = queue.findIndex(({ text }) => (tokens += text.inputIds.length) > mostTokens);
  return queue.splice(0, beyond === -1 ? queue.length : Math.max(1, beyond));
};

const joined = (parts: ReadonlyArray<Int32Array>): Int32Array => {
  const all = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
};

/** Logits [B, V] after the last token of each of B texts. */
const passOver = (model: CausalLM, texts: ReadonlyArray<Unread>): Tensor => {
  const cuSeqlens = new Int32Array(texts.length + 1);
  texts.forEach(({ inputIds }, i) => {
    cuSeqlens[i + 1] = (cuSeqlens[i] ?? 0) + inputIds.length;
  });
  const sequence = {
    inputIds: joined(texts.map(({ inputIds }) => inputIds)),
    positionIds: joined(texts.map(({ inputIds, start }) => inputIds.map((_, i) => start + i))),
    cuSeqlens,
  };
  const pass = { sequence, ...adaptersOf(model), quantized: model.quantized, caches: texts.map(({ cache }) => cache) };
  return logitsOf(
    model,
    pass,
    cuSeqlens.subarray(1).map((end) => end - 1),
  );
};

const run = async (model: CausalLM, waiting: ReadonlyArray<Waiting>): Promise<void> => {
  try {
    const logits = passOver(
      model,
      waiting.map(({ text }) => text),
    );
    const values = (await logits.data()) as Float32Array;
    logits.dispose();
    const { vocabSize } = model.config;
    waiting.forEach(({ resolve }, i) => resolve(values.subarray(i * vocabSize, (i + 1) * vocabSize)));
  } catch (cause) {
    for (const { reject } of waiting) reject(cause);
  }
};

const runAll = async (model: CausalLM, queue: Array<Waiting>): Promise<void> => {
  while (queue.length > 0) {
    // Two turns, in which whoever was given a token asks for the next one: a stream that was given one may wait a turn before it does.
    await turn();
    await turn();
    await run(model, taken(queue));
    await turn();
  }
  queues.delete(model);
};

/**
 * Logits [V] after the last token of a text. Texts that ask at about the same time are read in one pass, each as if it were alone: weights
 * are read once for all of them. A pass that fails, fails for each of its texts.
 */
export const nextLogits = (model: CausalLM, text: Unread): Promise<Float32Array> =>
  new Promise((resolve, reject) => {
    const queue = queues.get(model);
    if (queue !== undefined) {
      queue.push({ text, resolve, reject });
      return;
    }
    const fresh = [{ text, resolve, reject }];
    queues.set(model, fresh);
    void runAll(model, fresh);
  });
