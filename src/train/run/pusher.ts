/** The uploads of a run, as the rest of it sees them. */
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError, Warning } from '../../errors.js';
import type { HubCommit } from '../../formats/hub/uploading.js';

/** A commit on the Hub that a run made. */
export interface HubPush {
  /** `owner/name`, with `@branch` where it is not `main`. */
  readonly repo: string;
  readonly commit: HubCommit;
  /** Of the commit. */
  readonly title: string;
  /** Updates done when what it holds was written. */
  readonly step: number;
}

/** A checkpoint about to be uploaded. */
export interface CheckpointToPush {
  readonly dir: string;
  readonly step: number;
  /** What commits are called. */
  readonly title: string;
}

export type PushNews =
  | { readonly kind: 'pushed'; readonly pushed: HubPush }
  | { readonly kind: 'warning'; readonly warning: Warning };

/** The uploads of a run. One at a time: they come beside the updates, which do not wait for them. */
export interface Pusher {
  /** `owner/name`. */
  readonly repoId: string;
  /**
   * A checkpoint is whole on disk: its upload begins. While another one is under way it is passed over, as in transformers, unless
   * `hubAlwaysPush`.
   */
  readonly checkpoint: (checkpoint: CheckpointToPush) => TaskEither<FatalError, void>;
  /** Waits for what is under way, and uploads what the run leaves: its output directory, or the checkpoint it is resumed from. */
  readonly end: (outcome: { readonly left: boolean; readonly step: number }) => TaskEither<FatalError, void>;
  /** What has become of uploads since this was last asked. */
  readonly news: () => ReadonlyArray<PushNews>;
  /** Ends what is under way. What was not committed by then is not there. */
  readonly abort: () => void;
}
