/** Mamba and Falcon Mamba in GGUF, which are one architecture there. */
import * as E from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import { bool } from '../../formats/gguf/values.js';
import type { MambaConfig } from '../architectures/mamba.js';
import { unsupported } from './layout.js';
import type { LayoutOf } from './layout.js';
import { mambaArrangement, mambaMetadata, mambaNames, mambaRefusal } from './mambaMixer.js';
import { mixersAloneLayout } from './mixersAlone.js';

/** Its norms take the epsilon of the layers' there; the published models' are so small, both, that nothing comes of it. */
const epsilonRefusal = ({ mamba: { norms }, rmsNormEps }: MambaConfig): FatalError | undefined =>
  norms === undefined || norms.eps === rmsNormEps || Math.max(norms.eps, rmsNormEps) <= 1e-5
    ? undefined
    : unsupported('mixer_rms_eps', String(rmsNormEps), norms.eps);

export const mambaLayout: LayoutOf<MambaConfig> = (config, specs) => {
  const { mamba } = config;
  const refused =
    mambaRefusal(mamba, { expand: 'expand', convBias: 'use_conv_bias', bias: 'use_bias' }) ?? epsilonRefusal(config);
  return refused === undefined
    ? E.right(
        mixersAloneLayout(config, specs, {
          name: 'mamba',
          names: mambaNames('mixer'),
          arrangement: mambaArrangement,
          metadata: { ...mambaMetadata('mamba', mamba), 'mamba.ssm.dt_b_c_rms': bool(mamba.norms !== undefined) },
        }),
      )
    : E.left(refused);
};
