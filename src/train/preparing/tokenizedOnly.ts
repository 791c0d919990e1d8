import { left, right } from 'fp-ts/lib/Either.js';
import { dataError } from '../../errors.js';
import type { Formatted, PreTokenized, Transform } from '../../records.js';

/** Where there is no tokenizer, only rows that bring their ids go on (`E_NO_TOKENIZER`). */
export const tokenizedOnly: Transform<Formatted | PreTokenized, PreTokenized> = (row) =>
  'inputIds' in row
    ? right(row)
    : left(
        dataError('E_NO_TOKENIZER', 'The row is text, and there is no tokenizer to make tokens of it', {
          expected: 'rows with input_ids, or a tokenizer beside the model',
        }),
      );
