/** Mamba-2, the model, in GGUF. */
import * as E from 'fp-ts/lib/Either.js';
import type { Mamba2Config } from '../architectures/mamba2.js';
import type { LayoutOf } from './layout.js';
import { mixerArrangement, mixerMetadata, mixerNames, mixerRefusal } from './mamba2Mixer.js';
import { mixersAloneLayout } from './mixersAlone.js';

export const mamba2Layout: LayoutOf<Mamba2Config> = (config, specs) => {
  const { mamba } = config;
  const refused = mixerRefusal(mamba, { convBias: 'use_conv_bias', bias: 'use_bias', groups: 'n_groups' });
  return refused === undefined
    ? E.right(
        mixersAloneLayout(config, specs, {
          name: 'mamba2',
          names: mixerNames('mixer'),
          arrangement: (name) => mixerArrangement(mamba, name),
          metadata: mixerMetadata('mamba2', mamba),
        }),
      )
    : E.left(refused);
};
