/** What lies in a checkpoint beside the model: what a run is gone on from with. */
export const optimizerFile = 'optimizer.safetensors';
export const trainerStateFile = 'trainer_state.json';
