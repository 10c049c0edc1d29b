"""Pages of metrics in the shapes that servers give them: their names and types, numbers of our own."""

VLLM = """
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="m"}} {running}
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="m"}} 7
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="m"}} {prompt}
# TYPE vllm:prompt_tokens_by_source_total counter
vllm:prompt_tokens_by_source_total{{source="local_compute"}} 99999
# TYPE vllm:prompt_tokens_cached_total counter
vllm:prompt_tokens_cached_total{{engine="0"}} 88888
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="m"}} {output}
# TYPE vllm:generation_tokens_created gauge
vllm:generation_tokens_created{{engine="0",model_name="m"}} 1.7e+09
# TYPE vllm:request_success_total counter
vllm:request_success_total{{finished_reason="stop"}} {requests}
vllm:request_success_total{{finished_reason="length"}} 0
# TYPE vllm:iteration_tokens_total histogram
vllm:iteration_tokens_total_bucket{{le="+Inf"}} 5
vllm:iteration_tokens_total_sum 5
vllm:iteration_tokens_total_count 5
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{{le="0.1"}} 0
vllm:time_to_first_token_seconds_bucket{{le="0.25"}} {requests}
vllm:time_to_first_token_seconds_bucket{{le="+Inf"}} {requests}
vllm:time_to_first_token_seconds_sum 1
vllm:time_to_first_token_seconds_count {requests}
# TYPE vllm:request_time_per_output_token_seconds histogram
vllm:request_time_per_output_token_seconds_bucket{{le="0.01"}} 0
vllm:request_time_per_output_token_seconds_bucket{{le="+Inf"}} {requests}
# TYPE vllm:request_max_num_generation_tokens histogram
vllm:request_max_num_generation_tokens_sum 77777
# TYPE http_requests_total counter
http_requests_total{{handler="/metrics"}} 66666
"""

SGLANG = """
# TYPE sglang:prompt_tokens_total counter
sglang:prompt_tokens_total{{model_name="m"}} {prompt}
# TYPE sglang:cached_tokens_total counter
sglang:cached_tokens_total{{model_name="m"}} 88888
# TYPE sglang:generation_tokens_total counter
sglang:generation_tokens_total{{model_name="m"}} {output}
# TYPE sglang:num_requests_total counter
sglang:num_requests_total{{model_name="m"}} {requests}
# TYPE sglang:num_aborted_requests_total counter
sglang:num_aborted_requests_total{{model_name="m"}} 66666
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{{model_name="m"}} {running}
# TYPE sglang:num_queue_reqs gauge
sglang:num_queue_reqs{{model_name="m"}} 7
# TYPE sglang:time_to_first_token_seconds histogram
sglang:time_to_first_token_seconds_bucket{{le="0.1"}} 0
sglang:time_to_first_token_seconds_bucket{{le="0.25"}} {requests}
sglang:time_to_first_token_seconds_bucket{{le="+Inf"}} {requests}
# TYPE sglang:inter_token_latency_seconds histogram
sglang:inter_token_latency_seconds_bucket{{le="0.01"}} 0
sglang:inter_token_latency_seconds_bucket{{le="+Inf"}} {requests}
"""

TGI = """
# TYPE tgi_request_count counter
tgi_request_count 55555
# TYPE tgi_request_success counter
tgi_request_success{{kind="single"}} {requests}
# TYPE tgi_request_failure counter
tgi_request_failure{{err="x"}} 66666
# TYPE tgi_batch_current_size gauge
tgi_batch_current_size {running}
# TYPE tgi_batch_current_max_tokens gauge
tgi_batch_current_max_tokens 4096
# TYPE tgi_queue_size gauge
tgi_queue_size 7
# TYPE tgi_request_input_length histogram
tgi_request_input_length_bucket{{le="+Inf"}} {requests}
tgi_request_input_length_sum {prompt}
tgi_request_input_length_count {requests}
# TYPE tgi_request_max_new_tokens histogram
tgi_request_max_new_tokens_sum 77777
# TYPE tgi_request_generated_tokens histogram
tgi_request_generated_tokens_bucket{{le="+Inf"}} {requests}
tgi_request_generated_tokens_sum {output}
tgi_request_generated_tokens_count {requests}
# TYPE tgi_request_mean_time_per_token_duration histogram
tgi_request_mean_time_per_token_duration_bucket{{le="0.01"}} 0
tgi_request_mean_time_per_token_duration_bucket{{le="+Inf"}} {requests}
# TYPE tgi_batch_inference_count counter
tgi_batch_inference_count{{method="prefill"}} 44444
"""

LLAMA_CPP = """
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total {prompt}
# TYPE llamacpp:prompt_tokens_cached_total counter
llamacpp:prompt_tokens_cached_total 88888
# TYPE llamacpp:prompt_seconds_total counter
llamacpp:prompt_seconds_total 1.5
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total {output}
# TYPE llamacpp:tokens_predicted_seconds_total counter
llamacpp:tokens_predicted_seconds_total 77777
# TYPE llamacpp:predicted_tokens_seconds gauge
llamacpp:predicted_tokens_seconds 5973.72
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing {running}
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 7
"""


def page(shape: str, requests: float = 0, prompt: float = 0, output: float = 0, running: float = 0) -> str:
    """The page of a server that has done so much."""
    return shape.format(requests=requests, prompt=prompt, output=output, running=running)
