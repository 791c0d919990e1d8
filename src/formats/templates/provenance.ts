import type { Span } from '../../records.js';

/**
 * Where a stretch of rendered text came from. With a `field`, it is data: of a message, or of `tools`. With a `message` but
 * no field, it is text that the template wrote in that message's turn. With neither, it is text of the template alone.
 */
export interface Provenance extends Span {
  readonly message?: number;
  readonly role?: string;
  readonly field?: string;
  /** Of the field: index into the message's `contentWeights`. */
  readonly part?: number;
}
