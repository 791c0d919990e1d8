import { findIds } from './responses.js';

export interface ParityTemplates {
  readonly responseTemplate: ReadonlyArray<number>;
  readonly instructionTemplate?: ReadonlyArray<number> | undefined;
  readonly ignoreIndex: number;
}

export interface ParityMasked {
  readonly labels: Int32Array;
  readonly responseMissing: boolean;
  readonly instructionMissing: boolean;
}

/**
 * Labels as DataCollatorForCompletionOnlyLM of TRL 0.7.10 leaves them, its faults included: two user turns in a row mask the
 * rest of the row, two assistant turns in a row unmask it. `labels` come from the language-modelling collator, pad ids already
 * ignored, and are searched as they are.
 */
export const maskCompletionsParity = (given: Int32Array, templates: ParityTemplates): ParityMasked => {
  const { responseTemplate, instructionTemplate, ignoreIndex } = templates;
  const labels = given.slice();
  const found = findIds(labels, responseTemplate);
  const ends = found.map((start) => start + responseTemplate.length);
  if (ends.length === 0) labels.fill(ignoreIndex);
  if (instructionTemplate === undefined) {
    const end = ends[ends.length - 1];
    if (end !== undefined) labels.fill(ignoreIndex, 0, end);
    return { labels, responseMissing: ends.length === 0, instructionMissing: false };
  }
  // Searched in what the step before left: a row without response is blank by now, and warns twice.
  const starts = [...findIds(labels, instructionTemplate)];
  const instructionMissing = starts.length === 0;
  if (instructionMissing) labels.fill(ignoreIndex);
  const [firstStart] = starts;
  const [firstEnd] = ends;
  if (firstStart !== undefined && firstEnd !== undefined && firstStart > firstEnd) starts.unshift(0);
  for (let pair = 0; pair < Math.min(starts.length, ends.length); pair++) {
    const start = pair === 0 ? 0 : (starts[pair] ?? 0);
    const end = ends[pair] ?? 0;
    if (start < end) labels.fill(ignoreIndex, start, end);
  }
  const lastStart = starts[starts.length - 1];
  if (lastStart !== undefined && ends.length < starts.length) labels.fill(ignoreIndex, lastStart);
  return { labels, responseMissing: ends.length === 0, instructionMissing };
};
