/** `rxtune push`: what a run wrote, uploaded to the Hub. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { closed, optional, required } from '../formats/closed.js';
import { counted } from '../formats/counted.js';
import { nonEmptyString } from '../formats/optionCodecs.js';
import { SftConfig } from '../train/options/config.js';
import { pushToHub } from '../train/saving/pushToHub.js';
import type { CommandLine } from './command.js';
import { addFlags, flagsGiven } from './flags.js';
import { decodeGiven } from './options.js';
import { tellingHub, tellWarning } from './tell.js';

const { hubPrivateRepo, hubRevision } = SftConfig.fields;

const Options = closed('push', {
  dir: required(nonEmptyString, 'Directory to upload: a model or adapter. Its checkpoints and logs stay here.'),
  hubModelId: required(nonEmptyString, "Repository to upload to: owner/name, or the name of one of one's own."),
  hubPrivateRepo,
  hubRevision,
  commitMessage: optional(nonEmptyString, 'What the commit is called. Default: Upload model.'),
});

export const pushCommand: CommandLine = {
  flags: (command) => addFlags(command, Options.fields, { heading: 'Options:' }),
  run: (command, { err }): TaskEither<FatalError, void> =>
    pipe(
      TE.fromEither(decodeGiven({ flags: flagsGiven(command, Options.fields) }, Options.decode)),
      TE.flatMap(({ dir, hubModelId, hubPrivateRepo: isPrivate, hubRevision: branch, commitMessage }) =>
        pushToHub(branch === undefined ? hubModelId : `${hubModelId}@${branch}`, dir, {
          private: isPrivate,
          commitMessage,
          hub: tellingHub(err),
        }),
      ),
      TE.map(({ repo, commit, files, warnings }) => {
        warnings.forEach(tellWarning(err));
        err.write(`pushed ${counted(files.length, 'file')} to ${repo}: ${commit.url}\n`);
      }),
    ),
};
