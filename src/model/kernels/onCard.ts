import { engine } from '../../tfjs.js';

/** Whether the engine's tensors lie on a card, which works by itself while JavaScript goes on. */
export const onCard = (): boolean => {
  const { backend } = engine();
  return 'onCard' in backend && backend.onCard === true;
};
