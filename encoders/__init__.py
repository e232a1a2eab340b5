"""From pictures to embeds: vision encoders, face detection and recognition, and cropping and resizing before them."""
