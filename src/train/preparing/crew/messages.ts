/** What the main thread and one that prepares rows say to each other. */
import type { RowBlock } from '../../../formats/datasets/rowBlocks.js';
import type { Packed } from './wire.js';

/** A block to prepare. Answers come in the order of the questions. */
export type Question = RowBlock;

export type Answer =
  /** Once, when blocks can come. */
  | { readonly kind: 'ready' }
  | { readonly kind: 'packed'; readonly packed: Packed }
  /** This block holds what cannot be sent back: the main thread does it itself. */
  | { readonly kind: 'cannot' };
