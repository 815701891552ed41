"""The flags of old scripts: the guide's, with underscores, and today's, with dots."""

from launcher.engine import COMMON_ENVIRONMENT, CPU_ENVIRONMENT
from medical_team.agent_settings import CUSTOM_CONFIGS, SETTINGS

# setting -> the flags that give its value
VALUES: dict[str, tuple[str, ...]] = {
    "policy": ("--actor.model_name_or_path",),
    "seed": ("--seed", "--train.seed"),
    "train.batch_size": ("--train_batch_size", "--train.batch_size"),
    "train.micro_batch_size": ("--micro_train_batch_size", "--train.micro_batch_size"),
    "train.epochs": ("--max_epochs", "--train.max_epochs"),
    "train.learning_rate": ("--actor_learning_rate", "--actor.adam.lr"),
    "train.estimator": ("--advantage_estimator", "--algo.advantage.estimator"),
    "train.loss_aggregation": ("--actor.loss_agg_mode",),
    "train.kl_coefficient": ("--init_kl_coef", "--algo.kl.init_coef"),
    "rollout.batch_size": ("--rollout_batch_size", "--rollout.batch_size"),
    "rollout.micro_batch_size": ("--micro_rollout_batch_size", "--rollout.micro_batch_size"),
    "rollout.max_len": ("--data.max_len",),
    "rollout.max_new_tokens": ("--rollout.max_new_tokens",),
    "rollout.temperature": ("--temperature", "--rollout.temperature"),
    "rollout.top_p": ("--top_p", "--rollout.top_p"),
    "eval.steps": ("--eval_steps", "--eval.steps"),
    "eval.temperature": ("--eval_temperature", "--eval.temperature"),
    "checkpoint.steps": ("--save_steps", "--ckpt.save_steps"),
    "checkpoint.keep": ("--max_ckpt_num", "--ckpt.max_num"),
    "memory.vllm_share": ("--vllm_gpu_memory_utilization", "--vllm.gpu_memory_utilization"),
    "memory.zero_stage": ("--zero_stage", "--ds.zero_stage"),
    "memory.attention": ("--attn_implementation", "--ds.attn_implementation"),
    "cluster.nodes": ("--actor_num_nodes", "--actor.num_nodes"),
    "cluster.gpus_per_node": ("--actor_num_gpus_per_node", "--actor.num_gpus_per_node"),
    "cluster.rollout_engines": ("--vllm_num_engines", "--vllm.num_engines"),
    "logging.wandb.project": ("--wandb_project", "--logger.wandb.project"),
    "logging.wandb.entity": ("--wandb_org", "--logger.wandb.org"),
    "logging.wandb.group": ("--wandb_group", "--logger.wandb.group"),
    "cluster.tensor_parallel": ("--vllm_tensor_parallel_size", "--vllm.tensor_parallel_size"),
}
NEVER = frozenset({"eval.steps", "checkpoint.steps"})
"""Settings whose 0 is -1 to OpenRLHF."""

# switch -> the setting that it turns on, and its value
SWITCHES: dict[str, tuple[str, str]] = {
    "--flash_attn": ("memory.attention", "flash_attention_2"),
    "--normalize_reward": ("train.normalize_reward", "true"),
    "--reward.normalize_enable": ("train.normalize_reward", "true"),
    "--save_hf_ckpt": ("checkpoint.huggingface", "true"),
    "--ckpt.save_hf": ("checkpoint.huggingface", "true"),
    "--colocate_all_models": ("memory.colocate_all", "true"),
    "--train.colocate_all": ("memory.colocate_all", "true"),
    "--vllm_enable_sleep": ("memory.vllm_sleep", "true"),
    "--vllm.enable_sleep": ("memory.vllm_sleep", "true"),
    "--enforce_eager": ("memory.vllm_eager", "true"),
    "--vllm.enforce_eager": ("memory.vllm_eager", "true"),
    "--enable_prefix_caching": ("memory.vllm_prefix_caching", "true"),
    "--vllm.enable_prefix_caching": ("memory.vllm_prefix_caching", "true"),
    "--deepspeed_enable_sleep": ("memory.deepspeed_sleep", "true"),
    "--ds.enable_sleep": ("memory.deepspeed_sleep", "true"),
    "--adam_offload": ("memory.adam_offload", "true"),
    "--ds.adam_offload": ("memory.adam_offload", "true"),
    "--gradient_checkpointing": ("memory.gradient_checkpointing", "true"),
    "--actor.gradient_checkpointing_enable": ("memory.gradient_checkpointing", "true"),
    "--use_tensorboard": ("logging.tensorboard", "true"),
    "--logger.tensorboard_dir": ("logging.tensorboard", "true"),
}

_FOLDER = "nothing to do: each run keeps its model and its checkpoints in a folder of its own, runs/<id>"
_ROWS = "nothing to do: the rows are written from the cases when the run is created, under keys of their own"
_RESUMABLE = "nothing to do: DeepSpeed's checkpoints are kept, because a run is resumed from them (checkpoint.keep)"
_BF16 = "nothing to do: training is always in bf16"
_SYNC = "nothing to do: the device decides it, nccl on a GPU and gloo on a CPU"
_NO_CRITIC = "nothing to do: no critic is trained; advantages come from rewards alone (train.estimator)"
_NO_REWARD_MODEL = "nothing to do: no reward model is loaded; judge.kind says who judges"
_HELD_OUT = "nothing to do: evaluation notes are held out of the data (data.eval_cases)"
_WANDB = "a key is no setting: switch logging.wandb.enabled on, and export WANDB_API_KEY where the dashboard is started"
_RUN_NAME = "nothing to do: a run goes by its id there"
_LORA = "leave it: OpenRLHF's weight sync to vLLM is broken with LoRA"
_PACKING = "leave it: packing needs flash-attn's padding, and is off"
_DYNAMIC = "leave it: with ZeRO stages 1 and 2 an update would be made of its last micro-batch's gradients alone"
_RESUME = "nothing to do: History resumes a run from its newest checkpoint"

NO_SETTING: dict[str, str] = {
    "--save_path": _FOLDER,
    "--ckpt.output_dir": _FOLDER,
    "--ckpt_path": _FOLDER,
    "--ckpt.path": _FOLDER,
    "--disable_ds_ckpt": _RESUMABLE,
    "--ckpt.disable_ds": _RESUMABLE,
    "--load_checkpoint": _RESUME,
    "--ckpt.load_enable": _RESUME,
    "--ckpt.best_metric_key": "nothing to do: no checkpoint is singled out, so that a resume loads the newest",
    "--bf16": _BF16,
    "--ds.param_dtype": _BF16,
    "--actor_loss_coef": "leave it: it weighted a loss that OpenRLHF no longer has",
    "--vllm_sync_backend": _SYNC,
    "--vllm.sync_backend": _SYNC,
    "--actor.gradient_checkpointing_reentrant": "nothing to do: it is always on, on a GPU",
    "--algo.advantage.is_correction_level": "nothing to do: it is always token, which also proves the weight sync",
    "--data.prompt_dataset": f"{_ROWS}; set data.source, data.path and train.steps",
    "--data.input_key": _ROWS,
    "--data.label_key": _ROWS,
    "--input_key": _ROWS,
    "--label_key": _ROWS,
    "--apply_chat_template": "nothing to do: prompts always use the model's own chat template",
    "--eval_data": _HELD_OUT,
    "--eval_dataset": _HELD_OUT,
    "--eval.dataset": _HELD_OUT,
    "--eval.n_samples_per_prompt": "nothing to do: an evaluation takes one reply a note",
    "--use_wandb": _WANDB,
    "--logger.wandb.key": _WANDB,
    "--wandb_run_name": _RUN_NAME,
    "--logger.wandb.run_name": _RUN_NAME,
    "--load_in_4bit": "leave it: training in 4 bit goes with LoRA, which does not work",
    "--lora_rank": _LORA,
    "--lora_alpha": _LORA,
    "--ds.lora.rank": _LORA,
    "--packing_samples": _PACKING,
    "--ds.packing_samples": _PACKING,
    "--use_dynamic_batch": _DYNAMIC,
    "--train.dynamic_batch_enable": _DYNAMIC,
    "--train_max_tokens_per_gpu": _DYNAMIC,
    "--train.max_tokens_per_gpu": _DYNAMIC,
    "--rollout_max_tokens_per_gpu": _DYNAMIC,
    "--rollout.max_tokens_per_gpu": _DYNAMIC,
    "--critic_pretrain": _NO_CRITIC,
    "--critic_num_nodes": _NO_CRITIC,
    "--critic_num_gpus_per_node": _NO_CRITIC,
    "--critic_learning_rate": _NO_CRITIC,
    "--reward_pretrain": _NO_REWARD_MODEL,
    "--reward_num_nodes": _NO_REWARD_MODEL,
    "--reward_num_gpus_per_node": _NO_REWARD_MODEL,
    "--ref_reward_offload": "leave it: it did not lower the reference model's memory; kl_coefficient 0 runs without one",
}
"""Flag -> what to do, where no setting takes it."""

OWN_ENVIRONMENT = {
    *COMMON_ENVIRONMENT, *CPU_ENVIRONMENT, CUSTOM_CONFIGS, "PYTHONPATH", "TMPDIR", "RAY_TMPDIR", "RAY_OVERRIDE_RESOURCES",
    "HF_HUB_OFFLINE", "VLLM_USE_FLASHINFER_SAMPLER",
}  # fmt: skip
"""Variables that the launcher gives a job by itself."""

ENVIRONMENT: dict[str, str] = {
    SETTINGS: "it is written for one run: set prompt_style, train.baseline_decay and judge.kind by hand",
    "WANDB_API_KEY": _WANDB,
}
"""Variable -> what to do."""
