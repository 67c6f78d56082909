"""What the robustness tests share."""
